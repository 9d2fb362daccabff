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
