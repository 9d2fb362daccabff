import assert from "node:assert/strict";
import test from "node:test";
import { setImmediate as next_turn } from "node:timers/promises";
import { FileCheck } from "../../../../incoming/js/file/file_check.js";
import { file_of } from "../support/connections.js";
import { FakeEnvironment, until } from "../support/environment.js";

function failing(name) {
    const file = file_of(1000);
    file.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("no", name)) });
    return new FileCheck(new FakeEnvironment(), file);
}

test("tells the server what it knows the file by", async () => {
    const check = new FileCheck(new FakeEnvironment(), file_of(1000));
    assert.equal(await check.confirm(), null);
    const { fingerprint, ...rest } = check.identity;
    const expected = { name: "film.mp4", size: 1000, last_modified: 1_600_000_000_000, media_type: undefined };
    assert.deepEqual(rest, expected);
    assert.match(fingerprint, /^1-[0-9a-f]{64}$/);
});

test("tells what the browser takes the file for, if it does", () => {
    const type_of = (/** @type {string} */ type) =>
        new FileCheck(new FakeEnvironment(), new File(["x"], "a", { type })).identity.media_type;
    assert.equal(type_of("application/pdf"), "application/pdf");
    assert.equal(type_of(""), undefined);
});

test("a date that the protocol cannot carry is left out", () => {
    for (const lastModified of [-1, 1.5, NaN, undefined]) {
        const file = { name: "f", size: 1, lastModified };
        assert.equal(new FileCheck(new FakeEnvironment(), file).identity.last_modified, undefined);
    }
});

test("another size, date or content than at first is a file that was changed", async () => {
    for (const change of [
        (file) => Object.defineProperty(file, "size", { value: 999 }),
        (file) => Object.defineProperty(file, "lastModified", { value: 1 }),
        (file) => (file.slice = () => new Blob(["other"])),
    ]) {
        const file = file_of(1000);
        const check = new FileCheck(new FakeEnvironment(), file);
        await check.confirm();
        change(file);
        assert.equal((await check.confirm()).code, 1002);
    }
});

test("what browsers say of a file that cannot be read", async () => {
    for (const [name, code] of [["NotReadableError", 1002], ["NotFoundError", 1001], ["SecurityError", 1001]]) {
        for (const problem of [await failing(name).confirm(), await failing(name).doubt([0, 10])]) {
            assert.deepEqual([problem.code, problem.retry], [code, false]);
            assert.ok(problem.message);
        }
    }
});

test("doubt reads one byte of what was being sent", async () => {
    const file = file_of(1000);
    const read = [];
    const { slice } = file;
    file.slice = (start, end) => read.push([start, end]) && slice.call(file, start, end);
    assert.equal(await new FileCheck(new FakeEnvironment(), file).doubt([500, 900]), null);
    assert.deepEqual(read, [[500, 501]]);
});

const SIZE = 1_000_000;

/** A file whose content tests change, and a check of it that has been confirmed once. */
async function checked(size = SIZE) {
    const env = new FakeEnvironment();
    const content = new Uint8Array(size);
    const file = file_of(size);
    file.slice = (start, end) => new Blob([content.slice(start, end)]);
    const check = new FileCheck(env, file);
    assert.equal(await check.confirm(), null);
    return { env, content, file, check };
}

/** Seals, and returns what the owner was told: a problem, null, or "nothing". */
async function sealed(check, ranges = [[0, SIZE]], wanted = () => true) {
    let told = "nothing";
    const owner = { wanted, done: (problem) => (told = problem) };
    assert.equal(check.seal(ranges, owner), false);
    await until(() => told !== "nothing" || !wanted());
    return told;
}

test("the last bytes may go when all was looked at once more", async () => {
    const { check } = await checked();
    assert.equal(await sealed(check), null);
    assert.equal(check.seal([[900_000, SIZE]], null), true);
});

test("looking takes place once at a time", async () => {
    const { check } = await checked();
    let told = 0;
    const owner = { wanted: () => true, done: () => told++ };
    for (let i = 0; i < 3; i++) check.seal([[0, SIZE]], owner);
    await until(() => told);
    await next_turn();
    assert.equal(told, 1);
});

test("a change of what was sent, and of what an earlier page has sent, is told instead", async () => {
    const { check, content } = await checked();
    await check.read([500_000, 700_000]);
    content[600_000] = 1;
    assert.equal((await sealed(check, [[700_000, SIZE]])).code, 1002);
    const other = await checked();
    other.content[0] = 1;
    assert.equal((await sealed(other.check, [[700_000, SIZE]])).code, 1002);
});

test("an upload that was paused meanwhile is told nothing, and looks again when it goes on", async () => {
    const size = 3_000_000;
    const { check } = await checked(size);
    assert.equal(await sealed(check, [[0, size]], () => false), "nothing");
    await next_turn();
    assert.equal(await sealed(check, [[0, size]]), null);
});

test("a file that is not large is read as a whole, once before it is sent and once as it is sent", async () => {
    const env = new FakeEnvironment();
    const file = file_of(SIZE);
    const { slice } = file;
    const reads = [];
    file.slice = (start, end) => reads.push([start, end]) && slice.call(file, start, end);
    const check = new FileCheck(env, file);
    assert.equal(await check.confirm(), null);
    assert.equal(await sealed(check), null);
    await check.read([0, SIZE]);
    assert.deepEqual(reads, [
        [0, SIZE],
        [0, SIZE],
    ]);
});

test("a change anywhere in such a file is found before it is connected again", async () => {
    const { check, content } = await checked();
    content[777_777] = 1;
    assert.equal((await check.confirm()).code, 1002);
});

test("what is wrong with a chunk that could not be read is told when its connection has failed", async () => {
    const { check, content } = await checked();
    await check.read([500_000, 600_000]);
    content[550_000] = 1;
    await assert.rejects(check.read([540_000, 560_000]));
    assert.equal((await check.doubt([540_000, 560_000])).code, 1002);
    content[550_000] = 0;
    assert.equal(await check.confirm(), null);
    assert.equal(await check.doubt([540_000, 560_000]), null, "the right file is there again");
});

test("from time to time a chunk makes it look at the ends of the file", async () => {
    const { env, check, content } = await checked();
    content[0] = 1;
    await check.read([500_000, 600_000]);
    env.pass(5_001);
    await assert.rejects(check.read([600_000, 700_000]));
    assert.equal((await check.doubt([600_000, 700_000])).code, 1002);
});

test("two uploaders that are given the same File one after the other have one record of it", async () => {
    const { env, file, content, check } = await checked();
    await check.read([500_000, 600_000]);
    content[550_000] = 1;
    const second = new FileCheck(env, file);
    await second.confirm();
    assert.equal((await sealed(second, [[600_000, SIZE]])).code, 1002);
});

test("all of a small file is read once more, and must be what its fingerprint is of", async () => {
    const file = new File([new Uint8Array(1000).fill(7)], "a");
    const check = new FileCheck(new FakeEnvironment(), file);
    assert.ok(check.expect_whole());
    await check.confirm();
    assert.deepEqual(await check.whole(), new Uint8Array(1000).fill(7));
});

test("a small file that changes between its fingerprint and its sending is not sent", async () => {
    for (const last of [999, 0]) {
        const file = file_of(1000);
        const check = new FileCheck(new FakeEnvironment(), file);
        assert.ok(check.expect_whole());
        await check.confirm();
        const other = new Uint8Array(1000);
        other[last] = 1;
        file.slice = () => new Blob([other]);
        await assert.rejects(check.whole(), /changed/);
        assert.equal((await check.confirm()).code, 1002);
    }
});

test("what is larger than the fingerprint's samples, empty, or too long for a URL is not sent as a whole", () => {
    const expects = (/** @type {number} */ size, /** @type {string} */ name = "a") =>
        new FileCheck(new FakeEnvironment(), file_of(size, { name })).expect_whole();
    assert.deepEqual([expects(163_840), expects(163_841), expects(0)], [true, false, false]);
    assert.deepEqual([expects(1, "\u6587".repeat(220)), expects(1, "\u6587".repeat(223)), expects(1, "\ud800")], [true, false, true]);
});
