import assert from "node:assert/strict";
import test from "node:test";
import { Stage } from "../support/connections.js";
import { until } from "../support/environment.js";

const SIZE = 1_000_000;

/** Whether the browser would ask before the page is left. */
function asks(env) {
    const event = new Event("beforeunload", { cancelable: true });
    env.page.dispatchEvent(event);
    return event.defaultPrevented;
}

test("connections are of the kind that is wanted", () => {
    const { page } = new Stage();
    delete page.connect;
    assert.equal(page.connect("http", "t", null, {}).kind, "http");
    assert.equal(page.connect("websocket", "t", null, {}).kind, "websocket");
});

test("uploads that send at the same time share the connections, and each has one at least", () => {
    const { page } = new Stage();
    const uploads = Array.from({ length: 20 }, () => ({}));
    assert.equal(page.share(16), 16);
    page.follow(uploads[0], true, true);
    assert.equal(page.share(16), 16);
    page.follow(uploads[1], true, true);
    page.follow(uploads[2], true, false);
    assert.equal(page.share(16), 8, "one that does not send needs none");
    for (const upload of uploads) page.follow(upload, true, true);
    assert.equal(page.share(16), 1);
});

test("a server of a version that the library does not fit is named once, and the server is told the library's", async () => {
    const stage = new Stage();
    stage.env.version = "1.4.0";
    stage.uploader(SIZE).start();
    const connection = await stage.connected();
    assert.equal(connection.hello.library, "incoming.js/1.4.0");
    connection.welcome({ version: "2.0.0" });
    stage.page.met("2.0.0");
    const text = "the library has version 1.4.0, the upload server 2.0.0; use the library of the server";
    assert.deepEqual(stage.env.warnings, [text]);
});

test("versions fit by Semantic Versioning", () => {
    const cases = [
        ["1.4.0", "1.0.2", true], ["1.4.0", "11.0.0", false], ["0.1.0", "0.1.7rc1", true], ["0.1.0", "0.2.0", false],
        ["0.1.0", "0.10.0", false], ["0.9.0", "1.0.0", false], ["", "9.0.0", true], ["1.4.0", undefined, true],
    ];
    for (const [own, server, fits] of cases) {
        const { page, env } = new Stage();
        env.version = own;
        page.met(server);
        assert.equal(env.warnings.length === 0, fits, `${own} and ${server}`);
    }
});

test("the browser asks before the page is left only during an upload that wants it", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    uploader.warn_on_leave = true;
    assert.ok(!asks(stage.env));
    uploader.start();
    assert.ok(asks(stage.env));
    uploader.warn_on_leave = false;
    assert.ok(!asks(stage.env));
    uploader.warn_on_leave = true;
    (await stage.connected()).welcome();
    assert.ok(asks(stage.env));
    uploader.pause("pause");
    assert.ok(!asks(stage.env), "a paused upload loses nothing");
    uploader.start();
    (await stage.connected(2)).welcome();
    stage.connection.state("finished");
    assert.ok(!asks(stage.env));
});

test("the machine is kept awake exactly while bytes flow", async () => {
    const stage = new Stage();
    const held = [];
    stage.env.wake_lock = { request: async () => ({ release: async () => void held.pop() }) };
    const { request } = stage.env.wake_lock;
    stage.env.wake_lock.request = async (type) => held.push(type) && request();
    const { uploader, connection } = await stage.transferring(SIZE);
    assert.deepEqual(held, ["screen"]);
    uploader.pause("pause");
    await until(() => held.length === 0);
    uploader.start();
    (await stage.connected(2)).welcome();
    assert.deepEqual(held, ["screen"]);
    stage.connection.state("arrived");
    await until(() => held.length === 0);
    assert.ok(connection);
});
