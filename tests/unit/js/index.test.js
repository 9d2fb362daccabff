// The library as a page finds it: the sources in a world that has what a browser has, as far as it is touched here.
import assert from "node:assert/strict";
import test from "node:test";
import { FakeEnvironment, FakeStorage, until } from "./support/environment.js";

const env = new FakeEnvironment();
const { setTimeout: start_timer } = globalThis;
const handles = new Map();

Object.assign(globalThis, {
    // An upload that waits keeps no page open; nor is it to keep this process.
    setTimeout: (action, milliseconds) => start_timer(action, milliseconds).unref(),
    // A worker made from a blob: its location has no host, its origin is the page's.
    origin: "https://app.example",
    location: { host: "", protocol: "blob:" },
    document: Object.assign(new EventTarget(), {
        visibilityState: "visible",
        currentScript: { src: "https://app.example/files/incoming/0.1/frontend/incoming.js" },
    }),
    localStorage: new FakeStorage(),
    indexedDB: database(handles),
    WebSocket: class {
        constructor(url, protocol) {
            return env.open_socket(url, protocol);
        }
    },
    XMLHttpRequest: class {
        constructor() {
            return env.new_request();
        }
    },
});
// What the library loads at once is loaded before, because the tests wait for no disk.
await import("../../../incoming/js/session/transfer.js");
const incoming = await import("../../../incoming/js/index.js");

function database(values) {
    const request = (result) => {
        const asked = { result };
        queueMicrotask(() => asked.onsuccess());
        return asked;
    };
    const store = {
        put: (value, key) => request(void values.set(key, value) ?? key),
        get: (key) => request(values.get(key)),
        delete: (key) => request(void values.delete(key)),
    };
    return { open: () => request({ transaction: () => ({ objectStore: () => store }), close() {} }) };
}

const file = new File(["content"], "a.txt", { lastModified: 5 });

test("Uploader works with and without new", () => {
    const plain = incoming.Uploader("t1", file);
    const constructed = new incoming.Uploader("t1", file);
    for (const uploader of [plain, constructed]) {
        assert.ok(uploader instanceof incoming.Uploader);
        assert.deepEqual([uploader.filename, uploader.bytes_total], ["a.txt", 7]);
    }
    assert.notEqual(plain, constructed);
    assert.throws(() => incoming.Uploader("t1"), { name: "TypeError" });
});

test("the server is found by the page's host and the script's path, or where it is said to be", async () => {
    incoming.Uploader("t1", file).start();
    await until(() => env.sockets.length === 1);
    assert.equal(env.socket.url, "wss://app.example/files/incoming/0.1/frontend/upload_ws?ticket=t1");
    incoming.set_server_hostname("up.example:4000");
    incoming.Uploader("t2", file).start();
    await until(() => env.sockets.length === 2);
    assert.equal(env.socket.url, "wss://up.example:4000/files/incoming/0.1/frontend/upload_ws?ticket=t2");
    incoming.set_server_hostname(undefined);
});

test("a host name that is none is refused at once, and the last one stays", () => {
    incoming.set_server_hostname("up.example");
    assert.throws(() => incoming.set_server_hostname("::1"), { name: "TypeError", code: 1003, message: /::1/ });
    assert.throws(() => incoming.set_server_hostname("a b"), { name: "TypeError" });
    incoming.set_server_hostname("");
});

test("set_transport() takes three words and is obeyed", async () => {
    assert.throws(() => incoming.set_transport("pigeon"), { name: "TypeError" });
    incoming.set_transport("http");
    const uploader = incoming.Uploader("t3", file).start();
    await until(() => env.requests.length === 1);
    assert.equal(env.request.url, "https://app.example/files/incoming/0.1/frontend/upload/t3");
    incoming.set_transport("auto");
    assert.ok(!uploader.connected);
});

test("what is unfinished is listed, matched and forgotten", () => {
    const entry = {
        frontend: "https://app.example/files/incoming/0.1/frontend/",
        name: "a.txt",
        size: 7,
        last_modified: 5,
        bytes_acked: 3,
        last_activity: Date.now(),
        can_continue: false,
    };
    localStorage.setItem("incoming.upload.t9", JSON.stringify(entry));
    assert.deepEqual(incoming.unfinished().map(({ ticket }) => ticket), ["t9"]);
    assert.equal(incoming.match(file).ticket, "t9");
    incoming.forget("t9");
    assert.deepEqual([incoming.unfinished(), incoming.match(file)], [[], null]);
    localStorage.setItem("incoming.upload.t9", JSON.stringify(entry));
    incoming.set_remember(false);
    assert.deepEqual(incoming.unfinished(), []);
    incoming.set_remember(true);
});

test("continuing needs a file that was kept and may be read", async () => {
    await assert.rejects(incoming.continue_upload("t5"), /no file is remembered/);
    const asked = [];
    const handle = (granted) => ({
        getFile: async () => file,
        queryPermission: async () => "prompt",
        requestPermission: async ({ mode }) => asked.push(mode) && granted,
    });
    handles.set("t5", handle("denied"));
    await assert.rejects(incoming.continue_upload("t5"), /may not be read/);
    handles.set("t5", handle("granted"));
    const uploader = await incoming.continue_upload("t5");
    assert.deepEqual([uploader.upload_id, uploader.filename, uploader.state_msg], ["t5", "a.txt", "not yet started"]);
    assert.deepEqual(asked, ["read", "read"]);
    handles.set("t5", { getFile: async () => file });
    assert.equal((await incoming.continue_upload("t5")).filename, "a.txt", "where there are no permissions to ask for");
});
