import assert from "node:assert/strict";
import test from "node:test";
import { UploadQueue } from "../../../../incoming/js/queue/upload_queue.js";
import { Uploader } from "../../../../incoming/js/uploader/uploader.js";
import { Stage, file_of } from "../support/connections.js";
import { until } from "../support/environment.js";

/** Too large to be sent with the hello. */
const SIZE = 300_000;

/** A queue of uploads whose connections and tickets are the test's. */
function queue_of(count, options = {}) {
    const stage = new Stage();
    const make = (get_ticket, file, how) => new Uploader(stage.page, get_ticket, file, how);
    let tickets = 0;
    const queue = new UploadQueue(stage.env, make, async () => `t-${++tickets}`, options);
    const uploads = queue.add(Array.from({ length: count }, (_, i) => file_of(SIZE, { name: `${i}.txt` })));
    return { stage, queue, uploads, states: () => uploads.map((one) => one.state).join(" ") };
}

/** Lets the server take all of the upload that connected as number `count`. */
async function finish(stage, count) {
    const connection = await stage.connected(count);
    connection.welcome({ connections: 1 });
    stage.ack_all();
    connection.state("finished");
}

test("a few files are sent at once, and each end starts the next", async () => {
    const { stage, queue, states } = queue_of(4, { concurrency: 2 });
    await stage.connected(2);
    assert.equal(states(), "connecting connecting idle idle");
    assert.deepEqual([queue.snapshot().files_active, queue.snapshot().files_total], [4, 4]);
    stage.connections[0].welcome({ connections: 1 });
    stage.ack_all();
    stage.connections[0].state("finished");
    await stage.connected(3);
    assert.equal(states(), "finished connecting connecting idle");
    assert.equal(queue.snapshot().files_finished, 1);
});

test("an upload that waits for the app takes no other's place", async () => {
    const { stage, states } = queue_of(2, { concurrency: 1 });
    const connection = await stage.connected(1);
    connection.welcome({ connections: 1 });
    stage.ack_all();
    connection.state("waiting");
    await stage.connected(2);
    assert.equal(states(), "processing connecting");
});

test("a paused upload makes room for another", async () => {
    const { stage, uploads, states } = queue_of(2, { concurrency: 1 });
    await stage.connected(1);
    uploads[0].pause("pause");
    await stage.connected(2);
    assert.equal(states(), "paused connecting");
});

test("pause() stops all and starts none; resume() goes on, a few at a time", async () => {
    const { stage, queue, states } = queue_of(3, { concurrency: 1 });
    await stage.connected(1);
    queue.pause();
    await until(() => true);
    assert.deepEqual([states(), queue.snapshot().paused], ["paused idle idle", true]);
    queue.resume();
    await stage.connected(2);
    assert.deepEqual([states(), queue.snapshot().paused], ["connecting idle idle", false]);
});

test("cancel() ends everything that has not ended, the paused and the waiting too", async () => {
    const { stage, queue, uploads, states } = queue_of(4, { concurrency: 3 });
    await finish(stage, 3);
    uploads[1].pause("pause");
    queue.cancel("enough");
    await until(() => states() === "cancelled cancelled finished cancelled");
    assert.deepEqual(uploads.map((one) => one.cancel_msg), ["enough", "enough", "", "enough"]);
    const { files_active, files_cancelled, bytes_total, frac_complete } = queue.snapshot();
    assert.deepEqual([files_active, files_cancelled, bytes_total, frac_complete], [0, 3, SIZE, 1]);
});

test("retry_failed() gives each failed upload another turn, and is_queued() says which wait", async () => {
    const { stage, queue, uploads, states } = queue_of(3, { concurrency: 1 });
    for (const number of [1, 2, 3]) {
        (await stage.connected(number)).lose({ code: 401, message: "too large", retry: false, retry_after: null });
        await until(() => uploads[number - 1].failed);
    }
    await until(() => queue.snapshot().files_active === 0);
    queue.retry_failed();
    await stage.connected(4);
    assert.equal(states(), "connecting failed failed");
    assert.deepEqual(uploads.map(queue.is_queued), [false, true, true]);
    assert.deepEqual([queue.snapshot().files_active, queue.snapshot().files_failed], [3, 2]);
});

test("what all together have done is one number each, and listeners hear of it once a moment", async () => {
    const { stage, queue, uploads } = queue_of(2);
    const seen = [];
    queue.subscribe((snapshot) => seen.push(snapshot));
    assert.equal(seen.length, 1);
    await stage.connected(2);
    for (const connection of stage.connections) connection.welcome({ connections: 1 });
    stage.env.time += 1000;
    stage.connections[0].ack([stage.connections[0].chunks.shift()]);
    stage.connections[1].ack([stage.connections[1].chunks.shift()]);
    const before = seen.length;
    await until(() => seen.length > before);
    const now = queue.snapshot();
    assert.equal(seen.at(-1), now);
    assert.ok(Object.isFrozen(now));
    assert.deepEqual(now.uploads, uploads);
    assert.equal(now.bytes_acked, uploads[0].bytes_acked + uploads[1].bytes_acked);
    assert.equal(now.frac_complete, now.bytes_acked / now.bytes_total);
    assert.equal(now.rate, uploads[0].rate + uploads[1].rate);
    assert.equal(now.eta, (now.bytes_total - now.bytes_acked) / now.rate);
    assert.equal(queue.snapshot(), now);
});

test("remove() cancels what runs and lists it no more; clear() does so with what has ended", async () => {
    const { stage, queue, uploads } = queue_of(3, { concurrency: 1 });
    await finish(stage, 1);
    await stage.connected(2);
    queue.remove(uploads[1]);
    assert.ok(uploads[1].cancelled);
    assert.deepEqual(queue.snapshot().uploads, [uploads[0], uploads[2]]);
    queue.clear();
    assert.deepEqual(queue.snapshot().uploads, [uploads[2]]);
    await stage.connected(3);
});

test("an uploader that was made elsewhere is taken in, and paths and handles reach the uploaders", async () => {
    const { stage, queue } = queue_of(0);
    const other = new Uploader(stage.page, "t-x", file_of(5));
    queue.adopt(other);
    const [added] = queue.add([{ file: file_of(5), path: "a/b/film.mp4", handle: null }]);
    assert.deepEqual([added.path, added.filename], ["a/b/film.mp4", "film.mp4"]);
    await stage.connected(2);
    assert.equal(other.state, "connecting");
});

test("with `paused` nothing starts before resume()", async () => {
    const { stage, queue, states } = queue_of(2, { paused: true });
    await until(() => true);
    assert.equal(states(), "idle idle");
    queue.resume();
    await stage.connected(2);
});

test("an option that there is not is refused with those that there are, and a concurrency of none", () => {
    const stage = new Stage();
    const make = (options) => new UploadQueue(stage.env, () => {}, async () => "t", options);
    assert.throws(() => make({ concurency: 2 }), { name: "TypeError", message: /no option "concurency"; did you mean "concurrency"\?/ });
    assert.throws(() => make({ colour: 2 }), { name: "TypeError", message: /"colour"; its options are concurrency, resume, / });
    assert.throws(() => make({ concurrency: 0 }), { name: "TypeError", message: /given: 0/ });
    assert.throws(() => new UploadQueue(stage.env, () => {}, "ticket"), { name: "TypeError", code: 1003 });
});

test("small files are sent with their hellos, each in a request of its own", async () => {
    const stage = new Stage();
    const make = (get_ticket, file, how) => new Uploader(stage.page, get_ticket, file, how);
    let tickets = 0;
    const queue = new UploadQueue(stage.env, make, async () => `t-${++tickets}`, { concurrency: 2 });
    queue.add(Array.from({ length: 5 }, (_, i) => file_of(1000, { name: `${i}.txt` })));
    for (let number = 1; number <= 5; number++) {
        await stage.connected(number);
        const connection = stage.connections[number - 1];
        await until(() => connection.whole);
        connection.welcome({ state: "arrived", extents: [[0, 1000]] });
    }
    assert.deepEqual(stage.connections.map(({ kind }) => kind), Array(5).fill("http"));
    for (const connection of stage.connections) connection.state("finished");
    await until(() => queue.snapshot().files_finished === 5);
    const { files_active, bytes_total, bytes_acked, frac_complete } = queue.snapshot();
    assert.deepEqual({ files_active, bytes_total, bytes_acked, frac_complete }, { files_active: 0, bytes_total: 5000, bytes_acked: 5000, frac_complete: 1 });
});
