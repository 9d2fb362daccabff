import assert from "node:assert/strict";
import test from "node:test";
import { PageContext } from "../../../../incoming/js/page/page_context.js";
import { until } from "../support/environment.js";
import { Stage, file_of } from "../support/connections.js";

const SIZE = 1_000_000;
const DAY = 24 * 3_600_000;

/** The same browser after the page was loaded again. */
function reloaded(stage) {
    return new PageContext(stage.env, { origin: "https://app.example", script: null });
}

test("an upload is remembered from the moment the server has answered, with its progress", async () => {
    const stage = new Stage();
    stage.uploader(SIZE).start();
    assert.deepEqual(stage.page.unfinished.list(), []);
    (await stage.connected()).welcome({ extents: [[0, 250_000]] });
    const [entry] = reloaded(stage).unfinished.list();
    assert.deepEqual(entry, {
        ticket: "ticket-1",
        name: "film.mp4",
        size: SIZE,
        last_modified: 1_600_000_000_000,
        bytes_acked: 250_000,
        last_activity: stage.env.wall(),
        can_continue: false,
    });
});

test("progress is written down every other second, and once more when the page is left", async () => {
    const stage = new Stage();
    const { connection } = await stage.transferring(SIZE);
    connection.ack(connection.chunks.splice(0, 1));
    assert.equal(stage.page.unfinished.list()[0].bytes_acked, 0);
    stage.env.time += 2_000;
    connection.ack(connection.chunks.splice(0, 1));
    const noted = stage.page.unfinished.list()[0].bytes_acked;
    assert.ok(noted > 0);
    connection.ack(connection.chunks.splice(0, 1));
    stage.env.page.dispatchEvent(new Event("pagehide"));
    assert.ok(stage.page.unfinished.list()[0].bytes_acked > noted);
});

for (const [state, kept] of [["finished", false], ["cancelled", false], ["failed", false]]) {
    test(`an upload that is ${state} is not unfinished`, async () => {
        const stage = new Stage();
        const { connection } = await stage.transferring(SIZE);
        connection.state(state, "because");
        assert.equal(stage.page.unfinished.list().length > 0, kept);
    });
}

test("a page that is told of the end does not find the upload among the unfinished any more", async () => {
    for (const [state, callback] of [["finished", "onfinished"], ["cancelled", "oncancelled"], ["failed", "onerror"]]) {
        const stage = new Stage();
        const { uploader, connection } = await stage.transferring(SIZE);
        assert.equal(stage.page.unfinished.list().length, 1);
        const found = [];
        for (const name of ["onprogress", callback]) uploader[name] = () => found.push(stage.page.unfinished.list().length);
        connection.state(state, "", state === "failed" ? 303 : null);
        assert.deepEqual(found, [0, 0], state);
    }
});

test("an upload stays unfinished after errors that leave the ticket good, and where another window has it", async () => {
    for (const [code, kept] of [[400, 1], [204, 1], [200, 0]]) {
        const stage = new Stage();
        const { connection } = await stage.transferring(SIZE);
        connection.lose({ code, message: "no", retry: false, retry_after: null });
        assert.equal(stage.page.unfinished.list().length, kept, `${code}`);
    }
});

test("a file is matched by name, size and date", async () => {
    const stage = new Stage();
    await stage.transferring(SIZE);
    const { unfinished } = reloaded(stage);
    assert.equal(unfinished.match(file_of(SIZE)).ticket, "ticket-1");
    assert.equal(unfinished.match(file_of(SIZE - 1)), null);
    assert.equal(unfinished.match(file_of(SIZE, { name: "other.mp4" })), null);
    assert.equal(unfinished.match(file_of(SIZE, { lastModified: 5 })), null);
});

test("uploads to another server are that server's", async () => {
    const stage = new Stage();
    await stage.transferring(SIZE);
    const page = reloaded(stage);
    page.set_hostname("other.example");
    assert.deepEqual(page.unfinished.list(), []);
});

test("the latest comes first; what is older than a month is forgotten", async () => {
    const stage = new Stage();
    const { unfinished } = stage.page;
    const progress = { bytes_acked: 1, can_continue: false };
    unfinished.note("old", file_of(1), progress, true);
    stage.env.time += 20 * DAY;
    unfinished.note("new", file_of(2), progress, true);
    assert.deepEqual(unfinished.list().map((entry) => entry.ticket), ["new", "old"]);
    stage.env.time += 11 * DAY;
    assert.deepEqual(unfinished.list().map((entry) => entry.ticket), ["new"]);
    assert.equal(stage.env.storage.length, 1);
});

test("what is forgotten is gone, and nothing is remembered when that is not wanted", async () => {
    const stage = new Stage();
    await stage.transferring(SIZE);
    stage.page.unfinished.forget("ticket-1");
    assert.equal(stage.env.storage.length, 0);
    stage.page.store.enabled = false;
    stage.env.time += 5_000;
    stage.connection.ack();
    assert.equal(stage.env.storage.length, 0);
});

test("everything can be forgotten at once, but for cancellations that are still to be delivered", async () => {
    const stage = new Stage();
    await stage.transferring(SIZE);
    stage.page.outbox.cancel("ticket-2", "x");
    stage.page.unfinished.forget_all();
    assert.deepEqual([...stage.env.storage.values.keys()], ["incoming.cancel.ticket-2"]);
});

test("a handle that is kept makes it possible to continue", async () => {
    const stage = new Stage();
    const kept = new Map();
    stage.page.handles.keep = async (ticket, handle) => Boolean(kept.set(ticket, handle));
    stage.page.handles.remove = async (ticket) => void kept.delete(ticket);
    const handle = { kind: "file" };
    stage.uploader(SIZE, { handle }).start();
    (await stage.connected()).welcome();
    await until(() => stage.page.unfinished.list()[0]?.can_continue);
    assert.equal(kept.get("ticket-1"), handle);
    stage.connection.state("finished");
    assert.equal(kept.size, 0);
});

test("a handle kept earlier still counts when the file is chosen again", async () => {
    const stage = new Stage();
    stage.page.unfinished.note("ticket-1", file_of(SIZE), { bytes_acked: 1, can_continue: true }, true);
    await stage.transferring(SIZE);
    stage.env.time += 5_000;
    stage.connection.ack();
    assert.ok(stage.page.unfinished.list()[0].can_continue);
});

test("a malformed entry in the site's storage is skipped, and the others are listed", async () => {
    const stage = new Stage();
    await stage.transferring(SIZE);
    const [key, entry] = [...stage.env.storage.values][0];
    for (const value of ["{}", "[]", "5", "{", entry.replace('"film.mp4"', "7"), entry.replace(`"size":${SIZE}`, '"size":"x"')]) {
        stage.env.storage.setItem(`incoming.upload.${value}`, value);
    }
    const { unfinished } = reloaded(stage);
    assert.deepEqual(unfinished.list().map(({ ticket }) => `incoming.upload.${ticket}`), [key]);
    assert.equal(unfinished.match(file_of(1)), null);
    unfinished.forget_all();
    assert.deepEqual(unfinished.list(), []);
});
