// Many connections for one upload, and the way from one transport to the other; the rest of the session is seen
// through the uploader (uploader.test.js).
import assert from "node:assert/strict";
import test from "node:test";
import { random_numbers } from "../support/random.js";
import { Uploader } from "../../../../incoming/js/uploader/uploader.js";
import { Stage, file_of, loaded_page } from "../support/connections.js";
import { until } from "../support/environment.js";

const MIB = 1024 * 1024;
const LARGE = 64 * MIB;

/** Lets chunks be acknowledged on all connections until there are `count` of them; new ones are welcomed. */
async function grow(stage, count, uploader) {
    for (let turn = 0; stage.open.length < count; turn++) {
        assert.ok(turn < 400 && !uploader.frac_complete.toString().startsWith("1"), "it grows before the file ends");
        stage.env.pass(100);
        for (const connection of stage.open) if (connection.chunks.length) connection.ack([connection.chunks.shift()]);
        welcome_new(stage, uploader);
    }
}

function welcome_new(stage, uploader, changes = {}) {
    for (const connection of stage.open) {
        if (connection.seen) continue;
        connection.seen = true;
        connection.welcome({ extents: [[0, uploader.bytes_acked]], ...changes });
    }
}

async function sizer(count = 4) {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    const first = await stage.connected();
    stage.env.pass(200);
    first.seen = true;
    first.welcome();
    await grow(stage, count, uploader);
    return { stage, uploader };
}

test("a large upload gets more connections, in the same session and epoch, without counting chunks anew", async () => {
    const { stage, uploader } = await sizer();
    const [first, ...others] = stage.open;
    const { ahead, ...hello } = first.hello;
    assert.ok(ahead);
    for (const other of others) assert.deepEqual(other.hello, { ...hello, epoch: 1 });
    assert.ok(uploader.chunks_acked_now > 0);
    assert.equal(uploader.bytes_tx, uploader.bytes_acked + uploader.bytes_ahead);
});

test("a small upload does with one", async () => {
    const stage = new Stage();
    const { uploader } = await stage.transferring(3 * MIB);
    while (!uploader.frac_complete.toString().startsWith("1")) {
        stage.env.pass(100);
        stage.ack_all();
        await until(() => true);
    }
    assert.equal(stage.connections.length, 1);
});

test("one that is lost costs its own chunks, and the upload stays connected", async () => {
    const { stage, uploader } = await sizer();
    stage.env.pass(10);
    const [lost, ...others] = stage.open;
    const lost_bytes = lost.chunks.reduce((sum, [start, end]) => sum + end - start, 0);
    assert.ok(lost_bytes > 0);
    const calls = stage.calls.length;
    lost.calls.push("close");
    lost.lose();
    await until(() => stage.calls.length > calls);
    assert.ok(uploader.connected);
    assert.ok(others.every((connection) => connection.open_still));
    assert.deepEqual([uploader.error_code, stage.calls.names()], [null, []]);
});

test("only when the last is lost the upload is", async () => {
    const { stage, uploader } = await sizer();
    const problem = { code: 500, message: "the server is restarting", retry: true, retry_after: 1 };
    for (const connection of stage.open) {
        assert.ok(uploader.connected);
        connection.calls.push("close");
        connection.lose(problem);
    }
    assert.ok(!uploader.connected);
    assert.deepEqual([uploader.error_code, uploader.can_pause], [500, true]);
});

test("connections that cannot be had beside the first are tried ever less often", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE);
    uploader.max_rate = 64 * 1024;
    uploader.start();
    const first = await stage.connected();
    first.welcome();
    const opened = [];
    for (let second = 0; second < 120; second++) {
        stage.env.pass(1000);
        if (second === 1) uploader.max_rate = 0;
        if (first.chunks.length) first.ack([first.chunks.shift()]);
        for (const connection of stage.open.filter((one) => one !== first)) {
            opened.push(second);
            connection.calls.push("close");
            connection.lose({ code: 503, message: "busy", retry: true, retry_after: null });
        }
        if (uploader.frac_complete > 0.8) break;
    }
    const moments = [...new Set(opened)];
    assert.ok(moments.length >= 3 && moments.length <= 8, `${moments}`);
    assert.ok(uploader.connected);
});

test("at the end of the file those who have nothing to do send once more what one is late with", async () => {
    const { stage, uploader } = await sizer();
    const slow = stage.open[1];
    for (let turn = 0; uploader.frac_complete < 1; turn++) {
        assert.ok(turn < 3000 && slow.open_still, "nobody waits until it must be given up");
        stage.env.pass(10);
        for (const connection of stage.open) if (connection !== slow && connection.chunks.length) connection.ack();
        welcome_new(stage, uploader);
        await until(() => true);
    }
    assert.ok(slow.chunks.length > 0, "it has acknowledged nothing");
    assert.equal(stage.open.length, 1, "one is enough to hear what becomes of the upload");
    assert.ok(!stage.open.includes(slow));
    assert.equal(uploader.connected, true);
});

test("at the end of the file a stuck connection is left, and the others send what it had", async () => {
    const { stage, uploader } = await sizer();
    const stuck = stage.open[1];
    for (let turn = 0; uploader.chunks_ahead > stuck.chunks.length || uploader.bytes_tx < uploader.bytes_total; turn++) {
        assert.ok(turn < 3000);
        stage.env.pass(10);
        for (const connection of stage.open) if (connection !== stuck && connection.chunks.length) connection.ack();
        welcome_new(stage, uploader);
        await until(() => true);
    }
    assert.ok(stuck.chunks.length > 0);
    for (let second = 0; stuck.open_still; second++) {
        assert.ok(second < 60);
        stage.env.pass(1000);
    }
    await stage.all_acked(uploader);
    assert.deepEqual([uploader.connected, stage.calls.names()], [true, []]);
});

test("a limit of the rate that is lifted no longer holds after a second, however low it was", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(4 * MIB);
    uploader.max_rate = MIB;
    uploader.start();
    (await stage.connected()).welcome();
    stage.ack_all();
    uploader.max_rate = 100;
    stage.env.pass(1_000);
    stage.ack_all();
    const before = uploader.bytes_acked;
    assert.ok(before < 3 * MIB);
    uploader.max_rate = 0;
    stage.env.pass(1_000);
    stage.ack_all();
    assert.ok(uploader.bytes_acked > before);
});

test("a single connection is never left for being slow", async () => {
    const stage = new Stage();
    const { connection } = await stage.transferring(200_000);
    connection.ack([connection.chunks.shift()]);
    stage.env.pass(24 * 3_600_000);
    assert.ok(connection.open_still);
});

test("all cut at once are one loss: a short wait, and the WebSocket is not blamed for each", async () => {
    const { stage, uploader } = await sizer();
    const before = stage.connections.length;
    const open = [...stage.open];
    for (const connection of open) connection.calls.push("close");
    for (const connection of open) connection.lose();
    await until(() => !uploader.connected);
    await until(() => true);
    stage.env.pass(300);
    const again = await stage.connected(before + 1);
    assert.deepEqual([again.kind, stage.connections.length], ["websocket", before + 1]);
});

test("a further connection's welcome may be older than an ack: nothing that has arrived is taken back in the same epoch", async () => {
    for (const epoch of [1, 2]) {
        const stage = new Stage();
        const { uploader, connection } = await stage.transferring(LARGE);
        while (stage.connections.length === 1) {
            stage.env.pass(20);
            connection.ack([connection.chunks.shift()]);
        }
        uploader.max_rate = 1;
        for (let acks = 0; uploader.bytes_ahead > 0; acks++) {
            assert.ok(acks < 5, "the limit of the rate leaves nothing in flight");
            connection.ack();
        }
        const { bytes_acked } = uploader;
        assert.ok(bytes_acked > 1);
        stage.connection.welcome({ epoch, extents: [[0, 1]] });
        assert.equal(uploader.bytes_acked, epoch === 1 ? bytes_acked : 1);
    }
});

test("connected means connected: one that is still being opened does not count", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(LARGE);
    while (stage.connections.length === 1) {
        stage.env.pass(20);
        connection.ack([connection.chunks.shift()]);
    }
    connection.calls.push("close");
    connection.lose({ code: 500, message: "restarting", retry: true, retry_after: 1 });
    assert.deepEqual([uploader.connected, uploader.transport, stage.open.length], [false, "", 0]);
});

test("an error that ends the upload on one connection closes all", async () => {
    const { stage, uploader } = await sizer();
    stage.open[1].lose({ code: 204, message: "elsewhere", retry: false, retry_after: null });
    assert.equal(uploader.error_code, 204);
    assert.equal(stage.open.filter((connection) => connection !== stage.connections[1]).length, 0);
});

test("when all is acknowledged one connection is left for the news", async () => {
    const { stage, uploader } = await sizer();
    for (let turn = 0; uploader.frac_complete < 1; turn++) {
        assert.ok(turn < 3000);
        stage.env.pass(20);
        stage.ack_all();
        welcome_new(stage, uploader);
        await until(() => true);
    }
    assert.equal(stage.open.length, 1);
    stage.open[0].state("finished");
    assert.ok(uploader.finished);
});

test("pause and cancel go out on the connection with the least before it", async () => {
    for (const act of [(uploader) => uploader.pause("pause"), (uploader) => uploader.cancel("x")]) {
        const { stage, uploader } = await sizer();
        const open = [...stage.open];
        open.forEach((connection, n) => (connection.buffered = n === 2 ? 10 : 1000));
        act(uploader);
        assert.ok(open[2].calls.some((call) => call === "pause" || call === "cancel x"));
        assert.equal(open.filter((connection) => connection.calls.some((call) => /pause|cancel/.test(call))).length, 1);
    }
});

test("a rate is held over all connections, and may be lifted", async () => {
    const { stage, uploader } = await sizer();
    uploader.max_rate = MIB;
    const start = uploader.bytes_acked;
    for (let second = 0; second < 20; second++) {
        for (let tick = 0; tick < 10; tick++) {
            stage.env.pass(100);
            stage.ack_all();
        }
    }
    const sent = uploader.bytes_acked - start;
    assert.ok(sent >= 18 * MIB && sent <= 24 * MIB, `${sent / MIB} MiB in 20 s`);
    uploader.max_rate = 0;
    stage.env.pass(1000);
    stage.ack_all();
    assert.ok(uploader.bytes_acked - start > 30 * MIB);
});

test("the server's rate is obeyed, and the lower of the two holds", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE);
    uploader.max_rate = 4 * MIB;
    uploader.start();
    await stage.connected();
    for (let tick = 0; tick < 100; tick++) {
        stage.env.pass(100);
        stage.ack_all();
        welcome_new(stage, uploader, { max_rate: MIB });
    }
    assert.ok(uploader.bytes_acked >= 8 * MIB && uploader.bytes_acked <= 12 * MIB, `${uploader.bytes_acked / MIB} MiB in 10 s`);
});

// --- transports ----------------------------------------------------------------------------------------------------------

test("a WebSocket that cannot be had: HTTP in the same moment, and the page sees only which it is", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    (await stage.connected()).lose();
    const second = await stage.connected(2);
    assert.deepEqual([second.kind, stage.env.time], ["http", 0]);
    assert.ok(!stage.calls.some(({ seen }) => /lost/.test(seen.state_msg)), "nothing was lost");
    second.welcome();
    assert.deepEqual([uploader.transport, uploader.connected, uploader.error_code], ["http", true, null]);
    assert.deepEqual(stage.calls.names(), []);
});

test("WebSockets that are cut soon again and again: HTTP from where it was", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    for (let attempt = 1; attempt <= 3; attempt++) {
        const connection = await stage.connected(attempt);
        assert.equal(connection.kind, "websocket");
        connection.welcome({ extents: [[0, uploader.bytes_acked]] });
        connection.ack([connection.chunks.shift()]);
        connection.calls.push("close");
        connection.lose();
        await until(() => !uploader.connected);
        stage.env.pass(1000);
    }
    const fourth = await stage.connected(4);
    assert.equal(fourth.kind, "http");
    const { bytes_acked } = uploader;
    fourth.welcome({ extents: [[0, bytes_acked]] });
    assert.equal(fourth.chunks[0][0], bytes_acked);
});

/** An upload that has gone over to HTTP and, after half a minute, has a WebSocket opened on the side. */
async function trying_a_websocket(welcome = {}) {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    (await stage.connected()).lose();
    const http = await stage.connected(2);
    http.welcome(welcome);
    stage.env.pass(31_000);
    http.ack([http.chunks.shift()]);
    const websocket = stage.connections.find((connection, n) => n > 0 && connection.kind === "websocket");
    return { stage, uploader, http, websocket };
}

test("on HTTP a WebSocket is tried again on the side; when a chunk has arrived by it, HTTP retires after its last one", async () => {
    const { stage, uploader, http, websocket } = await trying_a_websocket();
    assert.ok(websocket);
    assert.equal(uploader.transport, "http");
    websocket.welcome({ extents: [[0, uploader.bytes_acked]] });
    assert.deepEqual([uploader.transport, http.chunks.length], ["http", 1], "a welcome proves nothing");
    http.ack();
    assert.equal(http.chunks.length, 1, "it goes on");
    websocket.ack([websocket.chunks.shift()]);
    assert.ok(http.open_still, "its chunk is still on its way");
    for (const connection of stage.connections) if (connection.kind === "http" && connection.chunks.length) connection.ack();
    assert.ok(!http.open_still);
    assert.equal(uploader.transport, "websocket");
});

test("where the server stores whole parts, a connection that retires finishes the part that it has begun", async () => {
    const alignment = 8 * 1024 * 1024;
    const { stage, uploader, http, websocket } = await trying_a_websocket({ alignment });
    websocket.welcome({ alignment, extents: [[0, uploader.bytes_acked]] });
    websocket.ack([websocket.chunks.shift()]);
    const pending = stage.connections.find((one) => one.kind === "http" && one.chunks.length);
    let last = 0;
    for (let count = 0; pending.open_still && pending.chunks.length && count < 1000; count++) {
        last = pending.chunks[0][1];
        stage.env.pass(20);
        pending.ack([pending.chunks.shift()]);
    }
    assert.deepEqual([last % alignment, pending.open_still], [0, false]);
    assert.ok(http);
});

test("when that WebSocket is lost before HTTP has sent its last chunk, HTTP stays", async () => {
    const { stage, uploader, http, websocket } = await trying_a_websocket();
    websocket.welcome({ extents: [[0, uploader.bytes_acked]] });
    websocket.ack([websocket.chunks.shift()]);
    for (const connection of stage.open.filter((one) => one !== http)) {
        connection.calls.push("close");
        connection.lose();
    }
    await until(() => true);
    assert.deepEqual([uploader.connected, uploader.transport], [true, "http"]);
    http.ack();
    assert.ok(http.open_still && http.chunks.length > 0, "it goes on");
});

test("a connection that is answered while the upload is being cancelled gets nothing to send and changes nothing", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(LARGE);
    while (stage.connections.length === 1) {
        stage.env.pass(20);
        connection.ack([connection.chunks.shift()]);
    }
    uploader.cancel("x");
    stage.connection.welcome({ extents: [[0, uploader.bytes_acked]] });
    assert.deepEqual([connection.calls, stage.connection.chunks], [["cancel x"], []]);
    assert.deepEqual([uploader.cancelling, uploader.can_cancel], [true, false]);
});

test("a WebSocket that fails on the side costs nothing", async () => {
    const { stage, uploader, http, websocket } = await trying_a_websocket();
    websocket.calls.push("close");
    websocket.lose();
    await until(() => true);
    assert.deepEqual([uploader.connected, uploader.transport], [true, "http"]);
});

/** The answers to the questions how much has arrived, as long as some are asked; returns how many were. */
function answer_looks(stage, seconds, arrived) {
    let asked = 0;
    for (let second = 0; second < seconds; second++) {
        stage.env.pass(1000);
        for (const request of stage.env.requests.splice(0)) if (!request.aborted) request.answer(200, { arrived: arrived(asked++) });
    }
    return asked;
}

test("a WebSocket that swallows chunks: HTTP, as soon as the server has said that it gets none", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(LARGE);
    connection.ack([connection.chunks.shift()]);
    const { bytes_acked } = uploader;
    assert.equal(answer_looks(stage, 20, () => bytes_acked), 3);
    const http = await stage.connected(2);
    assert.deepEqual([http.kind, connection.open_still, uploader.connected], ["http", false, false]);
    http.welcome({ extents: [[0, bytes_acked]] });
    assert.deepEqual([uploader.transport, uploader.error_code, stage.calls.names()], ["http", null, []]);
    assert.equal(http.chunks[0][0], bytes_acked);
});

test("a slow line is none that swallows: the server has more each time", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(LARGE);
    assert.ok(answer_looks(stage, 60, (asked) => 10_000 + asked) > 10);
    assert.deepEqual([connection.open_still, uploader.transport], [true, "websocket"]);
});

test("nor is one over which the server cannot be asked", async () => {
    const stage = new Stage();
    const { connection } = await stage.transferring(LARGE);
    for (let second = 0; second < 60; second++) {
        stage.env.pass(1000);
        const [request] = stage.env.requests.splice(0);
        if (second < 30) request?.answer(502);
    }
    assert.ok(connection.open_still);
});

test("acks and pauses are no reasons to ask", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(LARGE);
    for (let second = 0; second < 20; second++) {
        stage.env.pass(1000);
        connection.ack([connection.chunks.shift()]);
    }
    connection.chunks.length = 0;
    stage.env.pass(5_000);
    uploader.pause("pause");
    stage.env.pass(20_000);
    assert.deepEqual(stage.env.requests, []);
});

test("a piece refused as too large goes out again in smaller ones, and larger ones never again", async () => {
    const stage = new Stage();
    stage.page.wanted_transport = "http";
    const { uploader, connection } = await stage.transferring(LARGE);
    const [start, end] = connection.chunks.pop();
    connection.listener.too_large([start, end]);
    assert.deepEqual([uploader.error_code, uploader.connected], [null, true]);
    const again = connection.chunks.find((chunk) => chunk[0] === start);
    assert.ok(again[1] - again[0] <= (end - start) / 2);
});

test("chunks that never arrive as Blobs are read before they are sent, and the other way round", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    const modes = [];
    for (let attempt = 1; attempt <= 5; attempt++) {
        const connection = await stage.connected(attempt);
        modes.push(stage.servers.transports.blobs_fail);
        connection.welcome();
        connection.calls.push("close");
        connection.lose();
        await until(() => !uploader.connected);
        stage.env.pass(5000);
    }
    assert.deepEqual(modes, [false, false, true, true, false]);
});

for (let seed = 1; seed <= 15; seed++) {
    test(`whatever connections do, the upload arrives and never shows nonsense (seed ${seed})`, async () => {
        const random = random_numbers(seed);
        const stage = new Stage();
        stage.env.random = random.next;
        const server = new Set();
        const total = 40;
        const uploader = stage.uploader(total * 65_536).start();
        for (let turn = 0; !uploader.finished; turn++) {
            assert.ok(turn < 3000, "it ends");
            await until(() => true);
            await until(() => true);
            act(stage, random, server, total);
            stage.env.pass(random.below(400));
        }
        assert.equal(server.size, total);
        assert.deepEqual(stage.calls.names(), ["onfinished", "onfinish"]);
        for (const { seen } of stage.calls) {
            assert.equal(seen.bytes_tx, seen.bytes_acked + seen.bytes_ahead);
            assert.ok(seen.bytes_tx <= seen.bytes_total && seen.frac_complete <= 1);
        }
    });
}

/** One thing that happens to one of the connections; the server keeps blocks of 64 KiB. */
function act(stage, random, server, total) {
    const open = stage.open.filter((connection) => connection.hello);
    const connection = open[random.below(open.length)];
    if (!connection) return;
    const what = random.below(10);
    if (what === 0) {
        connection.calls.push("close");
        connection.lose(random.below(2) ? null : { code: 503, message: "busy", retry: true, retry_after: null });
    } else if (!connection.seen) {
        connection.seen = true;
        const extents = [...server].map((block) => [block * 65_536, (block + 1) * 65_536]);
        connection.welcome({ extents, state: server.size === total ? "handing_over" : "uploading" });
    } else if (server.size === total) {
        connection.state("finished");
    } else if (connection.chunks.length) {
        const [chunk] = connection.chunks.splice(random.below(connection.chunks.length), 1);
        for (let block = chunk[0] / 65_536; block < chunk[1] / 65_536; block++) server.add(block);
        if (random.below(5)) connection.ack([chunk]);
    }
}

// --- WebSockets that are of no use ----------------------------------------------------------------------------------------

test("a WebSocket that neither opens nor fails gets HTTP beside it after two seconds", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    const websocket = await stage.connected();
    stage.env.pass(1_999);
    assert.equal(stage.connections.length, 1);
    stage.env.pass(1);
    assert.deepEqual([stage.connection.kind, stage.connections.length, websocket.open_still], ["http", 2, true]);
    stage.connection.welcome();
    assert.deepEqual([uploader.transport, uploader.connected, uploader.error_code], ["http", true, null]);
    websocket.lose();
    await until(() => true);
    assert.ok(uploader.connected, "its end is no loss");
    assert.deepEqual(stage.calls.names(), []);
});

test("when that WebSocket does open after all and a chunk arrives by it, it carries the upload", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    const websocket = await stage.connected();
    stage.env.pass(2_000);
    const http = stage.connection;
    http.welcome();
    websocket.welcome();
    websocket.ack([websocket.chunks.shift()]);
    http.ack();
    assert.deepEqual([uploader.transport, http.open_still], ["websocket", false]);
});

for (const [first, second] of [[0, 1], [1, 0]]) {
    test(`neither of the two can be had, the ${first ? "request" : "WebSocket"} fails first: one loss, and one wait`, async () => {
        const stage = new Stage();
        const uploader = stage.uploader(LARGE).start();
        await stage.connected();
        stage.env.pass(2_000);
        stage.connections[first].lose();
        await until(() => true);
        assert.ok(stage.connections[second].open_still);
        stage.connections[second].lose();
        await until(() => !stage.connections.some((connection) => connection.open_still) || uploader.state_msg.startsWith("lost"));
        assert.equal(stage.connections.length, 2, "not at once");
        stage.env.pass(300);
        await stage.connected(3);
    });
}

test("a page remembers that HTTP had to take a WebSocket's place, over page loads, for an hour", async () => {
    const stage = new Stage();
    stage.uploader(LARGE).start();
    await stage.connected();
    stage.env.pass(2_000);
    stage.connection.welcome();
    const next = async (page) => {
        page.transfer_loader.transfer.servers.connect = stage.servers.connect;
        const before = stage.connections.length;
        new Uploader(page, "another", file_of(10)).start();
        return (await stage.connected(before + 1)).kind;
    };
    assert.equal(await next(stage.page), "http");
    const reloaded = () => loaded_page(stage.env);
    assert.equal(await next(reloaded()), "http");
    stage.env.time += 3_600_000;
    assert.equal(await next(reloaded()), "websocket");
});

test("a WebSocket of which the server understands nothing is of no use: HTTP at once", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    const problem = { code: 100, message: "this is no incoming.1", retry: false, retry_after: null };
    (await stage.connected()).lose(problem);
    const http = await stage.connected(2);
    assert.deepEqual([http.kind, stage.env.time, uploader.error_code], ["http", 0, null]);
    http.lose(problem);
    await until(() => uploader.error_code === 100);
    assert.deepEqual(stage.calls.names(), ["onerror"], "what it says to a request is its word");
});

test("where the page wants a WebSocket that error is the answer, and so is one after the welcome", async () => {
    const problem = { code: 100, message: "malformed", retry: false, retry_after: null };
    const forced = new Stage();
    forced.page.wanted_transport = "websocket";
    const uploader = forced.uploader(LARGE).start();
    (await forced.connected()).lose(problem);
    await until(() => uploader.error_code === 100);
    const stage = new Stage();
    const { uploader: welcomed, connection } = await stage.transferring(LARGE);
    connection.lose(problem);
    await until(() => welcomed.error_code === 100);
});

// --- a server that is never reached ---------------------------------------------------------------------------------------

/** Lets attempts fail until the uploader shows an error. */
async function in_vain(stage, uploader, problem) {
    for (let attempt = 0; uploader.error_code === null || uploader.error_code === problem?.code; attempt++) {
        assert.ok(attempt < 20);
        const before = stage.connections.length;
        for (const connection of stage.open) {
            connection.calls.push("close");
            connection.lose(problem);
        }
        await until(() => stage.open.length > 0 || uploader.state_msg.startsWith("lost") || uploader.error_code !== null);
        if (stage.connections.length === before) stage.env.pass(30_000);
        await until(() => stage.open.length > 0 || (uploader.error_code !== null && uploader.error_code !== problem?.code));
    }
}

for (const problem of [null, { code: 1004, message: "HTTP status 404", retry: true, retry_after: null }]) {
    test(`a server that was never reached is an error that names the address, and attempts go on (${problem?.message})`, async () => {
        const stage = new Stage();
        stage.page.set_hostname("up.example/wrong");
        const uploader = stage.uploader(LARGE).start();
        await stage.connected();
        await in_vain(stage, uploader, problem);
        assert.equal(uploader.error_code, 1005);
        assert.ok(uploader.error_msg.includes("https://up.example/wrong/incoming/0.1/frontend/"), uploader.error_msg);
        assert.deepEqual([stage.calls.names(), uploader.can_pause], [[], true], "it waits");
        const before = stage.connections.length;
        stage.env.pass(30_000);
        const again = await stage.connected(before + 1);
        again.welcome();
        assert.deepEqual([uploader.error_code, uploader.connected], [null, true]);
    });
}

test("a server that has answered this page before is away, not elsewhere", async () => {
    const stage = new Stage();
    const { uploader, connection } = await stage.transferring(LARGE);
    connection.calls.push("close");
    connection.lose();
    await until(() => !uploader.connected);
    for (let attempt = 0; attempt < 12; attempt++) {
        stage.env.pass(30_000);
        await until(() => stage.open.length > 0);
        for (const open of stage.open) {
            open.calls.push("close");
            open.lose();
        }
        await until(() => stage.open.length > 0 || uploader.state_msg.startsWith("lost"));
    }
    assert.equal(uploader.error_code, null);
});

test("where the server stores parts, no chunk crosses the border of one", async () => {
    const stage = new Stage();
    const alignment = 5 * MIB;
    const { connection } = await stage.transferring(LARGE, { alignment });
    const seen = [];
    for (let turn = 0; turn < 200 && connection.chunks.length; turn++) {
        seen.push(...connection.chunks);
        stage.env.pass(100);
        connection.ack();
    }
    assert.ok(seen.some(([, end]) => end % alignment === 0), "it has come to a border");
    for (const [start, end] of seen) assert.equal(Math.floor(start / alignment), Math.floor((end - 1) / alignment));
});

test("bytes that the server has received show as such, and a reconnection sends nothing of them again", async () => {
    const stage = new Stage();
    const alignment = 8 * MIB;
    const { uploader, connection } = await stage.transferring(LARGE, { alignment });
    const [[start, end]] = connection.chunks;
    assert.equal(start, 0);
    connection.listener.received([], [[0, end]]);
    assert.deepEqual([uploader.bytes_acked, uploader.bytes_received, uploader.frac_complete], [0, end, 0]);
    const before = stage.connections.length;
    connection.calls.push("close");
    connection.lose();
    await until(() => !uploader.connected);
    stage.env.pass(30_000);
    const again = await stage.connected(before + 1);
    again.welcome({ alignment, received: [[0, end]] });
    assert.equal(uploader.bytes_received, end);
    await until(() => again.chunks.length > 0);
    assert.deepEqual(again.chunks.filter(([from]) => from < end), []);
    again.listener.received([[0, end]], []);
    assert.deepEqual([uploader.bytes_acked, uploader.bytes_received], [end, end]);
});

async function under_way(options = {}) {
    const stage = new Stage();
    const uploader = stage.uploader(1000, { at_once: true, ...options }).start();
    await stage.connected();
    return { stage, uploader };
}

test("a small file is sent with its hello, over HTTP, and arrives with the answer", async () => {
    const { stage, uploader } = await under_way();
    assert.deepEqual([stage.connection.kind, stage.connection.whole], ["http", true]);
    stage.connection.welcome({ state: "arrived", extents: [[0, 1000]] });
    assert.deepEqual([uploader.state, uploader.bytes_acked, uploader.frac_complete], ["handing_over", 1000, 1]);
    stage.connection.state("finished");
    assert.ok(uploader.finished);
    assert.deepEqual([stage.connections.length, stage.calls.names()], [1, ["onfinished", "onfinish"]]);
});

test("where that is lost the usual way follows at once, and keeps what has arrived", async () => {
    const { stage, uploader } = await under_way();
    stage.connection.calls.push("close");
    stage.connection.lose();
    const usual = await stage.connected(2);
    assert.deepEqual([usual.kind, usual.whole], ["websocket", false]);
    assert.deepEqual([usual.hello.session, usual.hello.fingerprint], [stage.connections[0].hello.session, stage.connections[0].hello.fingerprint]);
    usual.welcome({ extents: [[0, 400]] });
    await until(() => usual.chunks.length);
    assert.deepEqual(usual.chunks, [[400, 1000]]);
    assert.equal(uploader.error_code, null);
});

test("after two in a row, or one that the server refuses, no other file is tried that way", async () => {
    for (const [tries, useless] of [[2, false], [1, true]]) {
        const { stage } = await under_way();
        for (let i = 0; i < tries; i++) stage.servers.transports.whole_failed(useless);
        assert.equal(stage.servers.transports.whole_works, false);
        stage.uploader(1000, { at_once: true }).start();
        assert.equal((await stage.connected(2)).kind, "websocket");
    }
});

test("one that was taken makes up for one that was lost", async () => {
    const { stage } = await under_way();
    stage.servers.transports.whole_failed(false);
    stage.connection.welcome({ state: "arrived", extents: [[0, 1000]] });
    stage.servers.transports.whole_failed(false);
    assert.ok(stage.servers.transports.whole_works);
});

test("with a limit of the rate, or when WebSockets are wanted, a small file is sent in the usual way", async () => {
    const limited = new Stage();
    const uploader = limited.uploader(1000, { at_once: true });
    uploader.max_rate = 100;
    uploader.start();
    assert.equal((await limited.connected()).kind, "websocket");
    const wanted = new Stage();
    wanted.page.wanted_transport = "websocket";
    wanted.uploader(1000, { at_once: true }).start();
    assert.equal((await wanted.connected()).kind, "websocket");
});

test("a cancellation while the file is under way waits for the server's word", async () => {
    const { stage, uploader } = await under_way();
    uploader.cancel("no");
    assert.deepEqual([uploader.state, stage.connection.calls], ["cancelling", ["cancel no"]]);
    stage.connection.state("cancelled", "no", 302);
    assert.deepEqual([uploader.cancelled, uploader.cancel_msg], [true, "no"]);
});

test("a cancellation that comes too late leaves the upload where the server says it is", async () => {
    const { stage, uploader } = await under_way();
    uploader.cancel("no");
    stage.connection.calls.push("close");
    stage.connection.lose({ code: 300, message: "it is too late", retry: false, retry_after: null });
    stage.env.pass(60_000);
    const usual = await stage.connected(2);
    usual.welcome({ state: "finished", extents: [[0, 1000]] });
    assert.deepEqual([uploader.finished, uploader.cancelled], [true, false]);
});

test("the first hello takes the beginning of the file with it, later ones do not", async () => {
    const stage = new Stage();
    const uploader = stage.uploader(LARGE).start();
    const first = await stage.connected();
    assert.deepEqual([first.hello.ahead, first.chunks], [true, [[0, 65_536]]]);
    first.calls.push("close");
    first.lose();
    await until(() => !uploader.connected);
    stage.env.pass(1000);
    const second = await stage.connected();
    assert.deepEqual([second.hello.ahead, second.chunks], [undefined, []]);
});

test("nothing goes with the hello of a small file, at a limited rate, over HTTP, or once bytes have arrived", async () => {
    const hello_of = async (stage, uploader) => {
        uploader.start();
        return (await stage.connected()).hello;
    };
    const small = new Stage();
    assert.equal((await hello_of(small, small.uploader(65_536))).ahead, undefined);
    const limited = new Stage();
    const slow = limited.uploader(LARGE);
    slow.max_rate = 1000;
    assert.equal((await hello_of(limited, slow)).ahead, undefined);
    const over_http = new Stage();
    over_http.page.wanted_transport = "http";
    assert.equal((await hello_of(over_http, over_http.uploader(LARGE))).ahead, undefined);
    const resumed = new Stage();
    const { uploader, connection } = await resumed.transferring(LARGE);
    connection.ack();
    uploader.pause("pause");
    assert.equal((await hello_of(resumed, uploader)).ahead, undefined);
});
