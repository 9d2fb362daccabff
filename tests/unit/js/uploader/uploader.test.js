import assert from "node:assert/strict";
import test from "node:test";
import { Uploader } from "../../../../incoming/js/uploader/uploader.js";
import { until } from "../support/environment.js";
import { Stage, file_of } from "../support/connections.js";

const SIZE = 1_000_000;
const FLAGS = ["connected", "finished", "paused", "can_pause", "cancelling", "cancelled", "can_cancel"];

/** What every moment of every upload must look like. */
function sound(seen) {
    assert.equal(seen.bytes_tx, seen.bytes_acked + seen.bytes_ahead);
    assert.ok(seen.bytes_tx <= seen.bytes_total, "progress stays within the file");
    assert.ok(seen.frac_complete >= 0 && seen.frac_complete <= 1, `frac_complete is ${seen.frac_complete}`);
    assert.equal(seen.chunks_tx_now, seen.chunks_acked_now + seen.chunks_ahead);
    for (const flag of FLAGS) assert.equal(typeof seen[flag], "boolean", flag);
    for (const text of ["state_msg", "cancel_msg", "error_msg"]) assert.equal(typeof seen[text], "string", text);
    assert.ok(seen.error_code === null || seen.error_code > 0);
    assert.equal(seen.error_code === null, seen.error_msg === "");
    assert.equal(seen.connected, seen.transport !== "", `connected ${seen.connected} by "${seen.transport}"`);
}

function flags(uploader) {
    return FLAGS.filter((flag) => uploader[flag]).join(" ");
}

function all_sound(stage) {
    for (const { seen } of stage.calls) sound(seen);
}

test("before the start everything has its quiet value", () => {
    const uploader = new Stage().uploader(SIZE);
    sound(uploader);
    assert.equal(uploader.upload_id, "ticket-1");
    assert.equal(uploader.filename, "film.mp4");
    assert.equal(uploader.bytes_total, SIZE);
    assert.deepEqual([uploader.bytes_tx, uploader.bytes_acked, uploader.bytes_ahead, uploader.frac_complete], [0, 0, 0, 0]);
    assert.deepEqual([uploader.chunks_tx_now, uploader.chunks_acked_now, uploader.chunks_ahead], [0, 0, 0]);
    assert.equal(flags(uploader), "can_cancel");
    assert.equal(uploader.state_msg, "not yet started");
    assert.deepEqual([uploader.cancel_msg, uploader.error_msg, uploader.error_code, uploader.transport], ["", "", null, ""]);
});

test("a name that comes with a path is shown without it", () => {
    const names = ["C:\\films\\film.mp4", "/home/me/film.mp4", "film.mp4"];
    for (const name of names) assert.equal(new Stage().uploader(1, { name }).filename, "film.mp4");
});

test("what is no upload id or no file is refused with a TypeError", () => {
    const { page } = new Stage();
    for (const [id, file] of [["", file_of(1)], [null, file_of(1)], ["t", "film.mp4"], ["t", undefined]]) {
        assert.throws(() => new Uploader(page, id, file), { name: "TypeError", code: 1003 });
    }
});

test("a mistake for a File is called by its name", () => {
    const { page } = new Stage();
    for (const [given, name] of [[new Blob(["x"]), "Blob"], [[file_of(1)], "Array"], ["film.mp4", "String"], [null, "Null"]]) {
        const message = `incoming: the second argument must be a File; given: ${name}`;
        assert.throws(() => new Uploader(page, "t", given), { name: "TypeError", code: 1003, message });
    }
});

test("an option that there is not is refused, with the one that may have been meant", () => {
    const { page } = new Stage();
    const refused = { name: "TypeError", code: 1003 };
    assert.throws(() => new Uploader(page, "t", file_of(1), { resum: true }), {
        ...refused, message: 'incoming: an uploader has no option "resum"; did you mean "resume"?',
    });
    assert.throws(() => new Uploader(page, "t", file_of(1), { rate: 1 }), { ...refused, message: /; its options are path, handle, resume, at_once$/ });
    assert.equal(new Uploader(page, "t", file_of(1), { path: "a/b", handle: undefined }).path, "a/b");
});

test("from start to finish", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    assert.equal(uploader.start(), uploader);
    assert.equal(uploader.state_msg, "connecting to upload server");
    const connection = await stage.connected();
    assert.deepEqual([connection.kind, connection.hello.name, connection.hello.size], ["websocket", "film.mp4", SIZE]);
    assert.equal(connection.hello.last_modified, 1_600_000_000_000);
    assert.match(connection.hello.fingerprint, /^1-[0-9a-f]{64}$/);
    assert.equal(connection.hello.epoch, undefined);
    connection.welcome();
    assert.equal(flags(uploader), "connected can_pause can_cancel");
    assert.deepEqual([uploader.transport, uploader.state_msg], ["websocket", "transfer file chunks to upload server"]);
    assert.ok(uploader.bytes_ahead > 0 && uploader.chunks_ahead === connection.chunks.length);
    await stage.all_acked(uploader);
    assert.deepEqual([uploader.bytes_acked, uploader.frac_complete, uploader.finished], [SIZE, 1, false]);
    assert.equal(flags(uploader), "connected");
    assert.equal(uploader.state_msg, "handing file to app");
    connection.state("arrived");
    connection.state("handing_over");
    connection.state("waiting");
    assert.equal(uploader.state_msg, "processing file on server");
    connection.state("finished");
    assert.equal(flags(uploader), "finished");
    assert.deepEqual([uploader.state_msg, uploader.frac_complete, uploader.error_code], ["all done", 1, null]);
    assert.deepEqual(stage.calls.names(), ["onfinished", "onfinish"]);
    all_sound(stage);
    assert.equal(stage.open.length, 0);
    assert.equal(stage.env.timers.size, 0, "nothing goes on behind the scenes");
});

test("a site that has trouble taking the file is told of in the server's words", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    stage.ack_all();
    connection.state("handing_over");
    assert.equal(uploader.state_msg, "handing file to app");
    const reason = "your file has arrived safely (number 1b2c3d4e); the site has trouble taking it and is tried again (attempt 2)";
    connection.state("handing_over", reason);
    assert.deepEqual([uploader.state_msg, uploader.error_code, uploader.cancel_msg], [reason, null, ""]);
    connection.state("waiting");
    assert.equal(uploader.state_msg, "processing file on server");
    connection.state("finished");
    assert.equal(uploader.state_msg, "all done");
});

test("onprogress comes first, and sees what the other callback is about", async () => {
    const stage = new Stage();
    const { connection } = await stage.transferring(SIZE);
    connection.state("finished");
    const last = stage.calls.slice(-3);
    assert.deepEqual(last.map((call) => [call.name, call.seen.finished]), [
        ["onprogress", true],
        ["onfinished", true],
        ["onfinish", true],
    ]);
});

test("every call of onprogress has something new to tell", async () => {
    const stage = new Stage();
    await stage.transferring(SIZE);
    stage.ack_all();
    const seen = stage.calls.filter((call) => call.name === "onprogress").map((call) => JSON.stringify(call.seen));
    assert.ok(seen.length > 3);
    for (let i = 1; i < seen.length; i++) assert.notEqual(seen[i], seen[i - 1]);
});

test("start() twice is the same as once, and after the end it does nothing", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE).start().start();
    const connection = await stage.connected();
    connection.welcome();
    uploader.start();
    connection.state("finished");
    uploader.start();
    await until(() => stage.env.timers.size === 0);
    assert.equal(stage.connections.length, 1);
    assert.ok(uploader.finished);
});

test("an empty file is complete when the server says so, and never before", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(0).start();
    const connection = await stage.connected();
    assert.equal(uploader.frac_complete, 0);
    connection.welcome({ state: "arrived" });
    assert.equal(uploader.frac_complete, 1);
    assert.deepEqual(connection.chunks, []);
    connection.state("finished");
    assert.ok(uploader.finished);
    all_sound(stage);
});

test("an upload that is already over tells its outcome to whoever asks", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE).start();
    const connection = await stage.connected();
    connection.welcome({ state: "finished", extents: [[0, SIZE]] });
    assert.ok(uploader.finished);
    assert.equal(uploader.bytes_acked, SIZE);
    assert.deepEqual(stage.calls.names(), ["onfinished", "onfinish"]);
});

test("a handover may take as long as it likes: nobody doubts it", async () => {
    for (const state of ["handing_over", "waiting"]) {
        const stage = new Stage();
        const { uploader } = await stage.transferring(SIZE, { state, extents: [[0, SIZE]] });
        stage.env.pass(24 * 3_600_000);
        assert.deepEqual([stage.connections.length, uploader.connected], [1, true]);
    }
});

test("a mistake in a callback is the page's own: it surfaces, and the upload goes on", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    uploader.onprogress = () => {
        throw new Error("a typo");
    };
    uploader.start();
    const connection = await stage.connected();
    connection.welcome();
    connection.state("finished");
    assert.ok(uploader.finished);
    assert.deepEqual(stage.calls.names(), ["onfinished", "onfinish"]);
    assert.throws(() => stage.env.pass(1), /a typo/);
});

test("a callback may act on the uploader", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    let depth = 0;
    uploader.onprogress = () => {
        assert.equal(++depth, 1, "one call at a time");
        if (uploader.connected) uploader.pause("pause");
        depth--;
    };
    uploader.start();
    (await stage.connected()).welcome();
    assert.ok(uploader.paused);
});

// --- pause ---------------------------------------------------------------------------------------------------------------

test("pause tells the server, lets go of it and keeps what was acknowledged", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.ack(connection.chunks.splice(0, 1));
    const { bytes_acked } = uploader;
    assert.equal(uploader.pause("pause"), uploader);
    assert.deepEqual(connection.calls, ["pause"]);
    assert.equal(flags(uploader), "paused");
    assert.deepEqual([uploader.state_msg, uploader.bytes_acked, uploader.bytes_ahead], ["paused", bytes_acked, 0]);
    stage.env.pass(3_600_000);
    assert.equal(stage.connections.length, 1, "a pause is never undone by a timer");
    all_sound(stage);
});

test("unpausing takes the upload over again and counts chunks anew", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.ack(connection.chunks.splice(0, 2));
    const { bytes_acked } = uploader;
    uploader.pause("toggle").pause("toggle");
    const again = await stage.connected(2);
    assert.equal(again.hello.epoch, undefined);
    again.welcome({ epoch: 2, extents: [[0, bytes_acked]] });
    assert.equal(uploader.chunks_acked_now, 0);
    assert.equal(uploader.bytes_acked, bytes_acked);
    assert.equal(flags(uploader), "connected can_pause can_cancel");
});

test("pause('unpause') of a running upload and pause('pause') of a paused one change nothing", async () => {
    const stage = new Stage();
    const { uploader } = await stage.transferring(SIZE);
    const calls = stage.calls.length;
    uploader.pause("unpause");
    assert.equal(stage.calls.length, calls);
    uploader.pause("pause").pause("pause");
    assert.ok(uploader.paused);
    assert.equal(stage.connections.length, 1);
});

test("start() ends a pause", async () => {
    const stage = new Stage();
    const { uploader } = await stage.transferring(SIZE);
    uploader.pause("pause").start();
    await stage.connected(2);
    assert.ok(!uploader.paused);
});

test("pause() takes three words only", async () => {
    const { uploader } = await new Stage().transferring(SIZE);
    for (const what of ["stop", "", undefined, true]) assert.throws(() => uploader.pause(what), { name: "TypeError", code: 1003 });
    assert.ok(!uploader.paused);
});

test("nothing can be paused before the start nor after the transfer", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    assert.ok(!uploader.pause("pause").paused);
    uploader.start();
    const connection = await stage.connected();
    connection.welcome({ state: "handing_over", extents: [[0, SIZE]] });
    assert.ok(!uploader.pause("toggle").paused);
    assert.deepEqual(connection.calls, []);
});

test("an upload can be paused from the moment it is started, and nothing is sent after that", async () => {
    const moments = {
        "before the file was looked at": async () => {},
        "while the connection is being made": async (stage) => void (await stage.connected()),
        "while a second one is tried beside it": async (stage) => {
            await stage.connected();
            stage.env.pass(2_000);
        },
        "when it is welcomed": async (stage) => (await stage.connected()).welcome(),
    };
    for (const [moment, reach] of Object.entries(moments)) {
        const stage = new Stage();
        const uploader = stage.uploader(SIZE).start();
        await reach(stage);
        assert.ok(uploader.can_pause, moment);
        uploader.pause("pause");
        assert.deepEqual([uploader.paused, uploader.state_msg], [true, "paused"], moment);
        const before = stage.connections.length;
        await until(() => true);
        stage.env.pass(3_600_000);
        assert.deepEqual([stage.connections.length, stage.open.length, uploader.paused], [before, 0, true], moment);
        assert.deepEqual(stage.connections.map(({ calls }) => calls), stage.connections.map(() => ["pause"]), "the server is told");
        uploader.start();
        (await stage.connected(before + 1)).welcome();
        assert.ok(stage.connections.slice(0, before).every(({ calls }) => calls.includes("close")), "no pause comes behind");
        assert.ok(uploader.connected);
    }
});

// --- several uploaders of one ticket in one page -----------------------------------------------------------------------------

const MOMENTS = 11;

/** Lets the first uploader get so far. */
async function advance(stage, first, moment) {
    if (moment === 0) return;
    await stage.connected();
    if (moment === 1) return;
    const connection = stage.connection;
    if (moment === 2) return void (await until(() => true));
    connection.welcome();
    if (moment === 3) return;
    connection.ack(connection.chunks.splice(0, 1));
    if (moment === 4) return;
    connection.calls.push("close");
    connection.lose();
    await until(() => first.state_msg.startsWith("lost"));
    if (moment === 5) return;
    stage.env.pass(300);
    await until(() => stage.connections.length > 1);
    if (moment === 6) return;
    stage.connection.welcome({ extents: [[0, SIZE]], state: "handing_over" });
    if (moment === 7) return;
    stage.connection.state("waiting");
    if (moment === 8) return;
    stage.connection.state("failed", "no", 303);
    if (moment === 9) return;
    stage.env.pass(1_000);
}

for (let moment = 0; moment < MOMENTS; moment++) {
    for (const [what, clean_up] of [["is left", () => {}], ["is paused", (one) => one.pause("pause")], ["is paused later", null]]) {
        test(`an uploader that ${what} at moment ${moment} gives way to the next one of its ticket`, async () => {
            const stage = new Stage();
            const first = stage.uploader(SIZE).start();
            await advance(stage, first, moment);
            clean_up?.(first);
            const before = stage.connections.length;
            const second = stage.uploader(SIZE).start();
            if (!clean_up) first.pause("pause");
            const connection = await stage.connected(before + 1);
            assert.deepEqual(stage.open, [connection], "one connection, the second one's");
            assert.equal(connection.hello.session, stage.connections[0].hello.session, "the server sees no other client");
            connection.welcome();
            assert.ok(second.connected && !first.connected);
            stage.env.pass(60_000);
            await until(() => true);
            assert.equal(stage.connections.length, before + 1, "the first one never comes back");
            stage.ack_all();
            connection.state("finished");
            assert.deepEqual([second.finished, first.finished], [true, false]);
            assert.ok(first.paused || (first.error_code ?? 0) > 0, "and it says so");
        });
    }
}

test("who was taken over by another uploader of the page takes the ticket back by start()", async () => {
    const stage = new Stage();
    const first = stage.uploader(SIZE).start();
    (await stage.connected()).welcome();
    const second = stage.uploader(SIZE).start();
    (await stage.connected(2)).welcome();
    assert.deepEqual([first.error_code, second.connected], [204, true]);
    first.start();
    (await stage.connected(3)).welcome();
    assert.deepEqual([first.connected, first.error_code, second.error_code, stage.open.length], [true, null, 204, 1]);
});

test("a cancellation that is under way is not undone by another uploader of the ticket", async () => {
    const stage = new Stage();
    const { uploader: first, connection } = await stage.transferring(SIZE);
    first.cancel("enough");
    stage.uploader(SIZE).start();
    await stage.connected(2);
    connection.state("cancelled", "enough");
    assert.ok(first.cancelled);
});

test("the wait for a lost connection can be paused, and no retry undoes that", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.lose();
    await until(() => !uploader.connected);
    assert.equal(flags(uploader), "can_pause can_cancel");
    uploader.pause("pause");
    stage.env.pass(3_600_000);
    await until(() => uploader.paused);
    assert.equal(stage.connections.length, 1);
});

// --- cancel --------------------------------------------------------------------------------------------------------------

test("cancel waits for the server's word", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    assert.equal(uploader.cancel("wrong film"), uploader);
    assert.equal(flags(uploader), "connected cancelling");
    assert.deepEqual([connection.calls.at(-1), uploader.state_msg], ["cancel wrong film", "cancelling: wrong film"]);
    connection.ack(connection.chunks.splice(0, 1));
    assert.ok(uploader.bytes_acked > 0, "what still comes in is heard");
    const { bytes_ahead } = uploader;
    assert.ok(uploader.bytes_tx === uploader.bytes_acked + bytes_ahead && uploader.cancelling);
    connection.state("cancelled", "wrong film");
    assert.equal(flags(uploader), "cancelled");
    assert.deepEqual([uploader.cancel_msg, uploader.state_msg], ["wrong film", "cancelled: wrong film"]);
    assert.deepEqual(stage.calls.names(), ["oncancelled"]);
    assert.equal(uploader.error_code, null);
    all_sound(stage);
});

test("without a reason nothing stands in its place", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    uploader.cancel();
    assert.equal(uploader.state_msg, "cancelling");
    connection.state("cancelled", "");
    assert.deepEqual([uploader.cancel_msg, uploader.state_msg], ["", "cancelled"]);
    all_sound(stage);
});

test("the app's cancellation reaches the page at once, with its reason", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.state("cancelled", "cancelled by the app");
    assert.ok(uploader.cancelled && !uploader.connected);
    assert.equal(uploader.cancel_msg, "cancelled by the app");
    assert.deepEqual(stage.calls.names(), ["oncancelled"]);
});

test("before the start, cancelling is a matter of the page; the server is told behind it", () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE).cancel("no longer wanted");
    assert.ok(uploader.cancelled && !uploader.can_cancel);
    assert.deepEqual(stage.calls.names(), ["oncancelled"]);
    assert.equal(stage.env.request.url, "https://app.example/incoming/0.1/frontend/upload/ticket-1");
    assert.deepEqual(JSON.parse(stage.env.request.body), { type: "cancel", reason: "no longer wanted" });
    uploader.start();
    assert.equal(stage.connections.length, 0);
});

test("cancelled while the file is looked at because of a loss: nothing is connected, so that it is delivered another way", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    assert.ok(uploader.bytes_ahead > 0);
    connection.lose();
    uploader.cancel("enough");
    await until(() => uploader.cancelled);
    assert.equal(JSON.parse(stage.env.request.body).reason, "enough");
    all_sound(stage);
});

test("cancelled while the connection is lost: at once, no retry comes, and the server is told when it can be", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.lose();
    await until(() => !uploader.connected);
    uploader.cancel("enough");
    assert.deepEqual([uploader.cancelled, uploader.cancel_msg, uploader.cancelling], [true, "enough", false]);
    stage.env.request.answer(0);
    stage.env.pass(60_000);
    assert.equal(stage.connections.length, 1);
    assert.ok(stage.env.requests.length > 1, "it is tried again");
    assert.deepEqual(stage.calls.names(), ["oncancelled"]);
});

test("a cancel without an answer is delivered another way", async () => {
    for (const silence of [(stage) => stage.env.pass(10_000), (stage) => stage.connection.lose()]) {
        const stage = new Stage();
        const { uploader } = await stage.transferring(SIZE);
        uploader.cancel("enough");
        silence(stage);
        await until(() => uploader.cancelled);
        assert.equal(JSON.parse(stage.env.request.body).reason, "enough");
        assert.deepEqual(stage.calls.names(), ["oncancelled"]);
    }
});

test("too late to cancel: the upload goes where the server says it is", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    uploader.cancel("enough");
    connection.lose({ code: 300, message: "too late", retry: false, retry_after: null });
    await until(() => !uploader.cancelling);
    stage.env.pass(1000);
    (await stage.connected(2)).welcome({ state: "waiting", extents: [[0, SIZE]] });
    assert.equal(flags(uploader), "connected");
    stage.connection.state("finished");
    assert.deepEqual(stage.calls.names(), ["onfinished", "onfinish"]);
});

test("cancel() is refused while paused, while handing over, and after the end", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    uploader.pause("pause").cancel("x");
    assert.ok(uploader.paused && !uploader.cancelled);
    uploader.start();
    const again = await stage.connected(2);
    again.welcome({ state: "arrived", extents: [[0, SIZE]] });
    uploader.cancel("x");
    again.state("finished");
    uploader.cancel("x");
    assert.ok(uploader.finished && !uploader.cancelled && !uploader.cancelling);
    assert.deepEqual([connection.calls, again.calls.filter((call) => call !== "close")], [["pause", "close"], []]);
});

// --- connections that are lost -------------------------------------------------------------------------------------------

test("a lost connection is opened again by itself, in the same session, and chunks are counted anew", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE, { epoch: 5 });
    connection.ack(connection.chunks.splice(0, 1));
    const { bytes_acked } = uploader;
    connection.lose();
    await until(() => !uploader.connected);
    assert.deepEqual([uploader.bytes_ahead, uploader.bytes_acked, uploader.transport], [0, bytes_acked, ""]);
    assert.equal(uploader.state_msg, "lost connection, trying to connect again");
    stage.env.pass(999);
    const again = await stage.connected(2);
    assert.deepEqual([again.hello.session, again.hello.epoch], [connection.hello.session, 5]);
    again.welcome({ epoch: 5, extents: [[0, bytes_acked]] });
    assert.deepEqual([uploader.chunks_acked_now, uploader.connected], [0, true]);
    assert.equal(again.chunks[0][0], bytes_acked);
    all_sound(stage);
});

test("it is never given up: an hour of failures, then the upload goes on", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE).start();
    let attempt = 1;
    for (; stage.env.time < 3_600_000; attempt++) {
        await stage.connected(attempt);
        stage.connection.lose();
        await until(() => stage.connections.length > attempt || stage.env.timers.size > 1);
        stage.env.pass(30_000);
    }
    (await stage.connected(attempt)).welcome();
    assert.ok(uploader.connected && uploader.can_pause);
    assert.deepEqual(stage.calls.names(), []);
});

test("when the network is back nobody waits for the timer", async () => {
    for (const event of ["online", "pageshow"]) {
        const stage = new Stage();
        const { uploader, connection } = await stage.transferring(SIZE);
        connection.lose();
        await until(() => !uploader.connected);
        stage.env.page.dispatchEvent(new Event(event));
        await stage.connected(2);
        assert.equal(stage.env.time, 0);
    }
});

test("an attempt begun without a network is left for another one as soon as the network is back", async () => {
    for (const [event, attempts] of [["online", 3], ["pageshow", 2]]) {
        const stage = new Stage();
        const { uploader, connection } = await stage.transferring(SIZE);
        connection.lose();
        await until(() => !uploader.connected);
        stage.env.pass(999);
        const hopeless = await stage.connected(2);
        stage.env.page.dispatchEvent(new Event(event));
        await until(() => stage.connections.length === attempts && stage.connection.hello);
        assert.equal(hopeless.open_still, attempts === 2);
        stage.connection.welcome();
        assert.deepEqual([uploader.connected, stage.env.time], [true, 999]);
    }
});

test("when the network is back while the file is looked at because of a loss, it is not shown as connected", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE, { extents: [[0, 900_000]] });
    assert.ok(uploader.bytes_ahead > 0);
    connection.lose();
    stage.env.page.dispatchEvent(new Event("online"));
    const again = await stage.connected(2);
    assert.deepEqual([flags(uploader), uploader.transport], ["can_pause can_cancel", ""]);
    again.welcome({ extents: [[0, 500_000]] });
    assert.deepEqual([flags(uploader), uploader.bytes_acked], ["connected can_pause can_cancel", 500_000]);
    all_sound(stage);
});

test("while connected, a change of the network has the connections checked", async () => {
    const stage = new Stage();
    const { connection } = await stage.transferring(SIZE);
    stage.env.page.dispatchEvent(new Event("pageshow"));
    assert.deepEqual(connection.calls, []);
    stage.env.page.dispatchEvent(new Event("online"));
    assert.deepEqual(connection.calls, ["check"]);
});

test("what the server lost in a power cut is sent again, and progress tells the truth", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE, { extents: [[0, 900_000]] });
    connection.lose();
    await until(() => !uploader.connected);
    stage.env.pass(999);
    (await stage.connected(2)).welcome({ extents: [[0, 500_000]] });
    assert.equal(uploader.bytes_acked, 500_000);
    assert.equal(stage.connection.chunks[0][0], 500_000);
    all_sound(stage);
});

test("all acknowledged but no word of arrival: the server is asked again, and gets what it misses", async () => {
    const stage = new Stage();
    const { uploader } = await stage.transferring(SIZE, { extents: [[0, 900_000]] });
    await stage.all_acked(uploader);
    stage.env.pass(20_000);
    const again = await stage.connected(2);
    again.welcome({ extents: [[0, 950_000]] });
    assert.deepEqual([uploader.bytes_acked, uploader.can_pause], [950_000, true]);
    await stage.all_acked(uploader);
    stage.connection.state("finished");
    assert.ok(uploader.finished);
});

test("during the handover too, a lost connection comes back and hears the end", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE, { state: "waiting", extents: [[0, SIZE]] });
    connection.lose();
    await until(() => !uploader.connected);
    assert.equal(uploader.state_msg, "file has arrived; lost connection, trying to connect again");
    assert.equal(flags(uploader), "");
    stage.env.pass(999);
    (await stage.connected(2)).welcome({ state: "finished", extents: [[0, SIZE]] });
    assert.ok(uploader.finished);
});

// --- errors --------------------------------------------------------------------------------------------------------------

test("an error that ends the upload: code and text, then onerror, and nothing goes on", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.lose({ code: 400, message: "not the file", retry: false, retry_after: null });
    assert.deepEqual([uploader.error_code, uploader.error_msg], [400, "not the file"]);
    assert.equal(uploader.state_msg, "failed: not the file");
    assert.equal(flags(uploader), "can_cancel");
    assert.deepEqual(stage.calls.names(), ["onerror"]);
    stage.env.pass(3_600_000);
    assert.equal(stage.connections.length, 1);
    all_sound(stage);
});

test("a handover that failed is an error with code 303", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE, { state: "handing_over", extents: [[0, SIZE]] });
    connection.state("failed", "the app answered 418");
    assert.deepEqual([uploader.error_code, uploader.error_msg], [303, "the app answered 418"]);
    assert.deepEqual(stage.calls.names(), ["onerror"]);
    assert.equal(flags(uploader), "");
});

test("an error that passes is shown while it lasts, without onerror, and is gone afterwards", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.lose({ code: 501, message: "no room on the disk", retry: true, retry_after: 10 });
    await until(() => !uploader.connected);
    assert.deepEqual([uploader.error_code, uploader.error_msg], [501, "no room on the disk"]);
    assert.equal(uploader.state_msg, "waiting: no room on the disk");
    stage.env.page.dispatchEvent(new Event("online"));
    stage.env.pass(9_999);
    await until(() => true);
    assert.equal(stage.connections.length, 1, "not before the time that the server asked for");
    stage.env.pass(3_000);
    (await stage.connected(2)).welcome();
    assert.deepEqual([uploader.error_code, uploader.error_msg, uploader.connected], [null, "", true]);
    assert.deepEqual(stage.calls.names(), []);
});

test("taken over by another window: it stops for good, but the user may take it back", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(SIZE);
    connection.lose({ code: 204, message: "the upload goes on in another window", retry: false, retry_after: null });
    assert.equal(uploader.error_code, 204);
    assert.equal(flags(uploader), "", "cancelling is up to the other one");
    stage.env.page.dispatchEvent(new Event("online"));
    stage.env.pass(3_600_000);
    assert.equal(stage.connections.length, 1);
    uploader.start();
    assert.deepEqual([uploader.error_code, uploader.error_msg], [null, ""]);
    const again = await stage.connected(2);
    assert.equal(again.hello.epoch, undefined, "without the old epoch: this one takes over");
});

test("a file that cannot be read ends the upload before anything is sent", async () => {
    const stage = new Stage();
    const file = file_of(SIZE);
    file.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("gone", "NotFoundError")) });
    const uploader = new Uploader(stage.page, "ticket-1", file);
    uploader.start();
    await until(() => uploader.error_code !== null);
    assert.equal(uploader.error_code, 1001);
    assert.equal(stage.connections.length, 0);
    assert.ok(uploader.can_cancel, "so that the app learns of it");
});

test("a file that changes during the upload ends it, as soon as a connection fails over it", async () => {
    const stage = new Stage();
    const file = file_of(SIZE);
    const uploader = new Uploader(stage.page, "ticket-1", file).start();
    (await stage.connected()).welcome();
    file.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("changed", "NotReadableError")) });
    stage.connection.lose();
    await until(() => uploader.error_code !== null);
    assert.equal(uploader.error_code, 1002);
});

test("the samples are read again before another attempt to connect", async () => {
    const stage = new Stage();
    const content = new Uint8Array(SIZE);
    const file = file_of(SIZE);
    file.slice = (start, end) => new Blob([content.slice(start, end)]);
    const uploader = new Uploader(stage.page, "ticket-1", file).start();
    (await stage.connected()).welcome({ extents: [[0, SIZE - 100]] });
    stage.env.time += 10_000;
    content[0] = 1;
    stage.connection.lose();
    await until(() => !uploader.connected);
    stage.env.pass(1000);
    await until(() => uploader.error_code !== null);
    assert.equal(uploader.error_code, 1002);
});

test("a file that was changed where an earlier page has sent it never becomes complete, not even a moment later", async () => {
    const stage = new Stage();
    const content = new Uint8Array(SIZE);
    const file = file_of(SIZE);
    file.slice = (start, end) => new Blob([content.slice(start, end)]);
    const uploader = new Uploader(stage.page, "ticket-1", file).start();
    const connection = await stage.connected();
    content[0] = 1;
    connection.chunks.splice(0); // went with the hello, to a server that drops it where it has bytes
    connection.welcome({ extents: [[0, SIZE - 100]] });
    assert.deepEqual(connection.chunks, []);
    await until(() => uploader.error_code !== null);
    assert.equal(uploader.error_code, 1002);
});

// --- stores and frameworks ---------------------------------------------------------------------------------------------------

/** What reactive frameworks put around an object and all objects in it. */
function reactive(target) {
    return new Proxy(target, {
        get: (object, name, receiver) => {
            const value = Reflect.get(object, name, receiver);
            return typeof value === "object" && value !== null ? reactive(value) : value;
        },
        set: (object, name, value, receiver) => Reflect.set(object, name, value, receiver),
    });
}

test("an uploader works behind a Proxy, as Vue and Alpine make one", async () => {
    const stage = new Stage();
    const uploader = reactive(stage.uploader(SIZE));
    const seen = [];
    uploader.onprogress = ({ state_msg }) => seen.push(state_msg);
    uploader.start();
    (await stage.connected()).welcome();
    uploader.max_rate = 1000;
    assert.ok(uploader.connected && uploader.snapshot().connected);
    uploader.pause("pause");
    assert.ok(uploader.paused);
    uploader.subscribe(() => seen.push("subscribed"))();
    uploader.pause("toggle").pause("pause");
    uploader.start();
    (await stage.connected(2)).welcome();
    assert.equal(uploader.cancel("x").cancelling, true);
    assert.ok(seen.includes("subscribed") && seen.includes("paused"));
    assert.ok(uploader instanceof Uploader);
});

test("its functions can be handed on alone, and are no properties that a copy would have", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    const { start, pause, snapshot } = uploader;
    start();
    (await stage.connected()).welcome();
    pause("pause");
    assert.ok(snapshot().paused);
    assert.deepEqual(Object.keys(uploader).filter((name) => typeof uploader[name] === "function" && !name.startsWith("on")), []);
});

test("a snapshot is frozen, stays the same object until something changes, and has every property and flag", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    const first = uploader.snapshot();
    assert.ok(Object.isFrozen(first));
    assert.equal(uploader.snapshot(), first);
    uploader.start();
    const second = uploader.snapshot();
    assert.notEqual(second, first);
    assert.deepEqual([first.state_msg, second.state_msg], ["not yet started", "connecting to upload server"]);
    (await stage.connected()).welcome();
    sound(uploader.snapshot());
    const settings = ["max_rate", "warn_on_leave", "onprogress", "onfinished", "onfinish", "oncancelled", "onerror"];
    const properties = [...Object.keys(uploader).filter((name) => !settings.includes(name)), "rate", "eta", "next_try_in"];
    assert.deepEqual(Object.keys(uploader.snapshot()).sort(), properties.sort());
    for (const [name, value] of Object.entries(uploader.snapshot())) assert.equal(uploader[name], value, name);
});

test("who subscribes gets the present snapshot and each later one, until it ends that", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    const [seen, others] = [[], []];
    const end = uploader.subscribe((snapshot) => seen.push(snapshot));
    uploader.subscribe((snapshot) => others.push(snapshot));
    assert.deepEqual(seen, [uploader.snapshot()]);
    uploader.start();
    (await stage.connected()).welcome();
    assert.equal(seen.at(-1), uploader.snapshot());
    assert.equal(new Set(seen).size, seen.length, "no snapshot twice");
    end();
    end();
    const { length } = seen;
    stage.connection.state("finished");
    assert.equal(seen.length, length);
    assert.ok(others.at(-1).finished);
    for (const what of [undefined, null, {}]) assert.throws(() => uploader.subscribe(what), { name: "TypeError", code: 1003 });
});

test("a subscriber that throws or unsubscribes another disturbs nobody", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(SIZE);
    const seen = [];
    uploader.subscribe(({ connected }) => {
        if (connected) end();
        throw new Error("a typo");
    });
    const end = uploader.subscribe(() => seen.push("other"));
    uploader.subscribe(({ connected }) => seen.push(connected));
    uploader.start();
    (await stage.connected()).welcome();
    assert.equal(seen.at(-1), true);
    assert.notEqual(seen.at(-2), "other", "it had ended in the same round");
    assert.throws(() => stage.env.pass(1), /a typo/);
});
