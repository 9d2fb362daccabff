import assert from "node:assert/strict";
import test from "node:test";
import { FileCheck } from "../../../../incoming/js/uploader/file_check.js";
import { file_of } from "../support/connections.js";
import { FakeEnvironment } from "../support/environment.js";

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

test("is fresh for a moment after it was found in order", async () => {
    const env = new FakeEnvironment();
    const check = new FileCheck(env, file_of(1000));
    assert.ok(!check.fresh);
    await check.confirm();
    assert.ok(check.fresh);
    env.pass(2_000);
    assert.ok(!check.fresh);
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
