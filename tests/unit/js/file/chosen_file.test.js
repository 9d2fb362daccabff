import assert from "node:assert/strict";
import test from "node:test";
import { ChosenFile, FileFault } from "../../../../incoming/js/file/chosen_file.js";
import { file_of } from "../support/connections.js";
import { FakeEnvironment, until } from "../support/environment.js";

/** A file of which `slice` answers as given. */
function chosen(arrayBuffer, env = new FakeEnvironment()) {
    const file = file_of(1000);
    file.slice = () => ({ arrayBuffer });
    return { env, file, read: () => new ChosenFile(env, file).read(0, 10) };
}

const refused = (name) => () => Promise.reject(new DOMException("no", name));
const fault = (code) => (error) => error instanceof FileFault && error.problem.code === code && !error.problem.retry;

/** Lets time pass until the promise is settled. */
async function pass_until(promise, env) {
    let settled = false;
    void promise.catch(() => {}).finally(() => (settled = true));
    while (!settled) {
        await until(() => settled || env.timers.size);
        env.pass(20);
    }
    await promise;
}

test("the bytes that were asked for", async () => {
    const content = Uint8Array.from({ length: 100 }, (_, i) => i);
    const file = new ChosenFile(new FakeEnvironment(), new File([content], "a", { type: "text/plain", lastModified: 5 }));
    assert.deepEqual([file.name, file.size, file.last_modified, file.media_type], ["a", 100, 5, "text/plain"]);
    assert.deepEqual(await file.read(10, 20), content.slice(10, 20));
    assert.deepEqual(new Uint8Array(await file.slice(10, 20).arrayBuffer()), content.slice(10, 20));
});

test("what Chromium and Firefox say of a file that was changed or is gone", async () => {
    for (const [name, code] of [["NotReadableError", 1002], ["NotFoundError", 1001], ["AbortError", 1001], ["SecurityError", 1001]]) {
        await assert.rejects(chosen(refused(name)).read, fault(code), name);
    }
});

test("fewer bytes than asked for are a file that was changed, which Firefox does not say", async () => {
    await assert.rejects(chosen(async () => new ArrayBuffer(9)).read, fault(1002));
    await assert.rejects(chosen(async () => new ArrayBuffer(0)).read, fault(1002));
});

test("WebKit says of both that they are gone, and shows the date of the one and the present time for the other", async () => {
    for (const [date, code] of [[() => 77, 1002], [(env) => env.wall(), 1001]]) {
        const { env, file, read } = chosen(refused("NotFoundError"));
        const reading = read();
        Object.defineProperty(file, "lastModified", { get: () => date(env) });
        await pass_until(assert.rejects(reading, fault(code)), env);
    }
});

test("a file that is being written when WebKit refuses it was changed, whatever date it has in the end", async () => {
    for (const last of [77, undefined]) {
        let refusals = 1;
        const { env, file, read } = chosen(async () => {
            if (refusals-- > 0) throw new DOMException("", "NotFoundError");
            return new ArrayBuffer(1);
        });
        const reading = read();
        const dates = [1_001, 1_002, 1_003, 1_004, 1_005];
        const before = file.lastModified;
        Object.defineProperty(file, "lastModified", { get: () => dates.shift() ?? last ?? before });
        await pass_until(assert.rejects(reading, fault(1002)), env);
        assert.deepEqual(dates, []);
    }
});

test("WebKit reads a file again that was changed and has its old date back", async () => {
    let refusals = 1;
    const { read } = chosen(async () => {
        if (refusals-- > 0) throw new DOMException("", "NotFoundError");
        return new ArrayBuffer(1);
    });
    await assert.rejects(read, fault(1002));
});

test("another size or date shows, where the browser looks again", () => {
    for (const property of ["size", "lastModified"]) {
        const file = file_of(1000);
        const seen = new ChosenFile(new FakeEnvironment(), file);
        assert.ok(!seen.looks_changed);
        Object.defineProperty(file, property, { value: 1 });
        assert.ok(seen.looks_changed);
    }
});
