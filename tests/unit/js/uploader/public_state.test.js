// `state`, `failed`, `error_name`, `next_try_in`, `retry_now()`, `discard()`, and state_msg in another language.
import assert from "node:assert/strict";
import test from "node:test";
import { error_name } from "../../../../incoming/js/transport/errors.js";
import { Stage } from "../support/connections.js";
import { until } from "../support/environment.js";

const SIZE = 1_000_000;
const FULL = { code: 501, message: "the disk is full", retry: true, retry_after: 20 };

test("the state has a name at every moment, and each change of it is told", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    const seen = [];
    uploader.subscribe(({ state }) => state !== seen.at(-1) && seen.push(state));
    uploader.start();
    (await stage.connected(1)).welcome();
    stage.connection.lose();
    await until(() => uploader.state === "reconnecting");
    stage.env.pass(1000);
    (await stage.connected(2)).lose(FULL);
    await until(() => uploader.state === "waiting");
    assert.deepEqual([uploader.error_code, uploader.error_name, uploader.failed], [501, "storage_full", false]);
    uploader.retry_now();
    (await stage.connected(3)).welcome();
    assert.deepEqual([uploader.state, uploader.error_name], ["transferring", null]);
    uploader.pause("pause").start();
    (await stage.connected(4)).welcome();
    stage.ack_all();
    stage.connection.lose();
    await until(() => uploader.state === "arrived");
    stage.env.pass(1000);
    (await stage.connected(5)).welcome({ state: "arrived", extents: [[0, SIZE]] });
    stage.connection.state("handing_over", "arrived safely, attempt 2");
    stage.connection.state("waiting");
    stage.connection.state("finished");
    assert.deepEqual(seen, [
        "idle", "connecting", "transferring", "reconnecting", "waiting", "transferring", "paused", "connecting",
        "transferring", "handing_over", "arrived", "handing_over", "delayed", "processing", "finished",
    ]);
});

test("a failed upload says so, with the name of its error", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    assert.deepEqual([uploader.failed, uploader.error_name], [false, null]);
    connection.lose({ code: 401, message: "too large", retry: false, retry_after: null });
    await until(() => uploader.failed);
    assert.deepEqual([uploader.state, uploader.error_name, uploader.snapshot().failed], ["failed", "file_too_large", true]);
});

test("a code of a newer server has a name, too", () => {
    assert.equal(error_name(477), "unknown_error");
    assert.equal(error_name(504), "too_slow");
});

test("the wait for the next attempt can be counted down, and listeners learn of each wait and of its end", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    assert.equal(uploader.next_try_in, null);
    const seen = [];
    uploader.subscribe(({ next_try_in }) => seen.push(next_try_in !== null));
    const progress = stage.calls.length;
    connection.lose();
    await until(() => uploader.next_try_in !== null);
    assert.equal(uploader.next_try_in, 0.15);
    stage.env.pass(100);
    assert.ok(Math.abs(uploader.next_try_in - 0.05) < 1e-9);
    stage.env.pass(50);
    assert.equal(uploader.next_try_in, null);
    (await stage.connected(2)).lose();
    await until(() => uploader.next_try_in !== null);
    assert.deepEqual(seen, [false, true, false, true].slice(0, seen.length));
    assert.equal(seen.length, 4);
    assert.equal(stage.calls.length, progress + 1, "onprogress is about properties and flags: one loss");
});

test("retry_now() ends a wait that the server asked for, too, and does nothing where nothing is waited for", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    uploader.retry_now();
    assert.equal(stage.connections.length, 1);
    connection.lose(FULL);
    await until(() => uploader.state === "waiting");
    assert.ok(uploader.next_try_in >= 20);
    uploader.retry_now();
    const again = await stage.connected(2);
    uploader.retry_now().retry_now();
    again.welcome();
    await until(() => true);
    assert.deepEqual([stage.connections.length, uploader.state], [2, "transferring"]);
});

test("discard() cancels also what is paused, by one call, and the server is told", async () => {
    const stage = new Stage();
    const { uploader } = await stage.transferring(SIZE);
    uploader.pause("pause");
    assert.ok(!uploader.can_cancel);
    uploader.discard("not wanted");
    assert.deepEqual([uploader.state, uploader.cancel_msg, stage.calls.names()], ["cancelled", "not wanted", ["oncancelled"]]);
    const { url, method, body } = stage.env.request;
    assert.deepEqual([method, JSON.parse(body)], ["POST", { type: "cancel", reason: "not wanted" }]);
    assert.match(url, /upload\/ticket-1$/);
});

test("discard() of what is not paused is cancel(), and the handover and the end it leaves alone", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    uploader.discard("x");
    assert.deepEqual([uploader.cancelling, connection.calls], [true, ["cancel x"]]);
    const other = new Stage();
    const { uploader: arrived } = await other.transferring(SIZE);
    await other.all_acked(arrived);
    assert.equal(arrived.discard("x").state, "handing_over");
    other.connection.state("finished");
    assert.equal(arrived.discard("x").state, "finished");
});

test("state_msg is in the language of the page's pack, and its errors by their names", async () => {
    const stage = new Stage();
    stage.page.language = {
        language: "de",
        "state.transferring": "wird hochgeladen",
        "state.waiting": "wartet: {error}",
        "error.storage_full": "Der Server ist voll",
        "state.cancelled_because": "abgebrochen: {reason}",
    };
    const { uploader, connection } = await stage.transferring(SIZE);
    assert.equal(uploader.state_msg, "wird hochgeladen");
    connection.lose(FULL);
    await until(() => uploader.state === "waiting");
    assert.equal(uploader.state_msg, "wartet: Der Server ist voll");
    assert.equal(uploader.error_msg, "the disk is full");
    uploader.cancel("{error} $& nein");
    assert.equal(uploader.state_msg, "abgebrochen: {error} $& nein");
});
