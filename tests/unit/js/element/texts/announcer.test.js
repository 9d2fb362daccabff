// What a screen reader is told. The transcript is of a real uploader and a real queue, whose connections are the test's.
import assert from "node:assert/strict";
import test from "node:test";
import { Announcer } from "../../../../../incoming/js/element/texts/announcer.js";
import { UploadQueue } from "../../../../../incoming/js/queue/upload_queue.js";
import { Uploader } from "../../../../../incoming/js/uploader/uploader.js";
import { Stage } from "../../support/connections.js";
import { until } from "../../support/environment.js";
import { ENGLISH, GB, queue_snapshot, upload_of } from "../../support/uploads.js";

const plain = (lines) => lines.map((line) => line.replace(/\u00a0/g, " "));

/** 40 GB of which only what is read is there. */
function large_file(size) {
    const piece = (start, end) => ({ size: end - start, arrayBuffer: async () => new ArrayBuffer(Math.min(end - start, 1 << 20)) });
    return { name: "film.mp4", size, type: "video/mp4", lastModified: 5, slice: (start, end = size) => piece(start, Math.min(end, size)) };
}

test("the transcript of an upload of 40 GB with two losses, of which one lasts", async () => {
    const stage = new Stage();
    const queue = new UploadQueue(stage.env, (...given) => new Uploader(stage.page, ...given), async () => "t-1");
    const announcer = new Announcer();
    const said = [];
    const listen = () => said.push(...announcer.update(queue.snapshot(), ENGLISH, stage.env.now()));
    queue.subscribe(listen);
    const [upload] = queue.add([large_file(40 * GB)]);
    const chunks = { chunk_min: 256 << 20, chunk_max: 512 << 20, window: 2 ** 40, connections: 1 };

    const lost = new Set();
    const alive = () => stage.open.filter((connection) => !lost.has(connection));
    const lose = () => {
        for (const connection of alive()) lost.add(connection) && connection.lose();
    };

    /** Acknowledges chunks until a fraction has arrived; the line does 100 MB/s. */
    const reach = async (fraction) => {
        while (upload.frac_complete < fraction) {
            const busy = () => alive().find((connection) => connection.chunks.length > 0);
            await until(busy);
            const connection = busy();
            const chunk = connection.chunks.shift();
            stage.env.pass((chunk[1] - chunk[0]) / 100_000);
            connection.ack([chunk]);
        }
    };
    (await stage.connected(1)).welcome(chunks);
    await reach(0.3);
    const arrived = () => [[0, upload.bytes_acked]];

    lose(); // back within two seconds
    await until(() => upload.state === "reconnecting");
    listen();
    stage.env.pass(1500);
    (await stage.connected(2)).welcome({ ...chunks, extents: arrived() });
    await reach(0.6);

    // For ten minutes no attempt, by whichever transport, comes through.
    const waits = () => lose() ?? upload.next_try_in !== null;
    for (let second = 0; second < 600; second++) {
        await until(waits);
        stage.env.pass(1000);
        listen();
    }
    await until(waits);
    upload.retry_now();
    await until(() => alive().length > 0);
    stage.connection.welcome({ ...chunks, extents: arrived() });
    await reach(1);
    stage.connection.state("handing_over");
    stage.connection.state("finished");
    await until(() => upload.finished);
    listen();

    assert.deepEqual(plain(said), [
        "film.mp4: Uploading",
        "film.mp4: 25%",
        "film.mp4: 50%",
        "film.mp4: Connection lost, connecting again. Nothing is lost; the upload continues by itself",
        "film.mp4: Uploading",
        "film.mp4: 75%",
        "film.mp4: Finished",
    ]);
});

/** Says what is announced of uploads, moment after moment. */
function told(...moments) {
    const announcer = new Announcer();
    return moments.map((uploads, second) => plain(announcer.update(queue_snapshot(uploads), ENGLISH, second * 1000)));
}

test("several files have their starts, quarters and ends, and so has the whole", () => {
    const [a, b] = [upload_of({ filename: "a" }), upload_of({ filename: "b", error_name: "file_too_large", error_code: 401 })];
    const announcer = new Announcer();
    const states = [["transferring", "idle", 0], ["transferring", "idle", 2 / 3], ["finished", "transferring", 1], ["finished", "failed", 1]];
    const said = states.map(([first, second, fraction]) => {
        Object.assign(a, { state: first, frac_complete: fraction, bytes_acked: fraction * 3 * GB });
        Object.assign(b, { state: second });
        return plain(announcer.update(queue_snapshot([a, b]), ENGLISH, 0));
    });
    assert.deepEqual(said, [
        ["a: Uploading"],
        ["a: 50%", "All files: 25%"],
        ["a: Finished", "b: Uploading", "All files: 50%"],
        ["b: Failed: The file is too large", "1 of 2 files"],
    ]);
});

test("of many files only trouble and bad ends are told one by one", () => {
    const many = Array.from({ length: 6 }, (_, i) => upload_of({ filename: `${i}`, bytes_acked: 2 * GB }));
    const announcer = new Announcer();
    const say = () => plain(announcer.update(queue_snapshot(many), ENGLISH, 0));
    assert.deepEqual(say(), ["All files: 50%"]);
    Object.assign(many[0], { state: "finished", finished: true });
    assert.deepEqual(say(), []);
    Object.assign(many[1], { state: "failed", error_name: "file_too_large", error_code: 401 });
    assert.deepEqual(say(), ["1: Failed: The file is too large"]);
    for (const one of many.slice(2)) Object.assign(one, { state: "finished", finished: true });
    assert.deepEqual(say(), ["5 of 6 files"]);
});

test("trouble that is over at once is not told of, and lasting trouble once", () => {
    const one = upload_of({ state: "reconnecting", bytes_acked: GB });
    const said = told([one], [one], [one], [one], [one], [one]);
    assert.deepEqual(said.map((lines) => lines.length), [0, 0, 0, 0, 1, 0]);
});

test("an upload that failed and is tried again is told of again", () => {
    const one = upload_of({ state: "failed", error_name: "handover_failed", error_code: 303 });
    const announcer = new Announcer();
    const say = () => plain(announcer.update(queue_snapshot([one]), ENGLISH, 0));
    assert.deepEqual(say(), ["film.mp4: Failed: The site did not take the file"]);
    one.state = "transferring";
    assert.deepEqual(say(), ["film.mp4: Uploading"]);
    one.state = "finished";
    assert.deepEqual(say(), ["film.mp4: Finished"]);
});
