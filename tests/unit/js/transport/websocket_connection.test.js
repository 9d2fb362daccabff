import assert from "node:assert/strict";
import test from "node:test";
import { WebSocketConnection } from "../../../../incoming/js/transport/websocket_connection.js";
import { WELCOME, source_of } from "../support/connections.js";
import { FakeEnvironment, until } from "../support/environment.js";

const HELLO = { session: "session-1", name: "film.mp4", size: 1000 };

/** A connection, its socket, and what it reports. */
function connection({ as_blobs = true, source = source_of() } = {}) {
    const env = new FakeEnvironment();
    const reports = [];
    const report = (name) => (value) => reports.push([name, value]);
    const listener = Object.fromEntries(["welcome", "ack", "state", "path", "too_large", "closed"].map((name) => [name, report(name)]));
    const target = { frontend: "https://up.example/f/", ticket: "t1", source, news: null, as_blobs: () => as_blobs };
    const line = new WebSocketConnection(env, target, listener);
    line.open(HELLO);
    return { env, line, reports, socket: env.socket };
}

function welcomed(options) {
    const all = connection(options);
    all.socket.onopen();
    all.socket.say(WELCOME);
    all.reports.length = 0;
    return all;
}

const closed = (problem = null) => [["closed", problem]];

test("says hello as soon as the socket is open, in our sub-protocol", () => {
    const { socket } = connection();
    assert.deepEqual([socket.url, socket.protocol], ["wss://up.example/f/upload_ws?ticket=t1", "incoming.1"]);
    assert.deepEqual(socket.sent, []);
    socket.onopen();
    assert.deepEqual(socket.texts, [{ type: "hello", ...HELLO }]);
});

test("a chunk that is sent before the socket is open is read meanwhile, and goes right behind the hello", async () => {
    const content = Uint8Array.from({ length: 1000 }, (_, n) => n % 251);
    const reads = [];
    const source = { ...source_of(content), read: async (chunk) => (reads.push(chunk), content.slice(...chunk)) };
    const { line, socket } = connection({ source });
    line.send([0, 100]);
    await until(() => reads.length === 1);
    assert.deepEqual(socket.sent, []);
    socket.onopen();
    await until(() => socket.chunks.length === 1);
    assert.equal(socket.sent.length, 2);
    assert.equal(JSON.parse(socket.sent[0]).type, "hello");
    assert.deepEqual(socket.sent[1].slice(16), content.slice(0, 100));
});

test("a chunk whose connection ends before it is open is never sent", async () => {
    const { line, socket } = connection();
    line.send([0, 100]);
    line.close();
    await until(() => true);
    assert.deepEqual([socket.onopen, socket.sent], [null, []]);
});

test("passes on what the server says", () => {
    const { socket, reports } = connection();
    socket.onopen();
    socket.say(WELCOME);
    socket.say({ type: "ack", chunks: [[0, 10]] });
    socket.say({ type: "state", state: "failed", reason: "no", code: 303 });
    socket.say({ type: "applause" });
    assert.deepEqual(reports, [
        ["welcome", WELCOME],
        ["ack", [[0, 10]]],
        ["state", { state: "failed", reason: "no", code: 303 }],
    ]);
});

for (const as_blobs of [true, false]) {
    test(`a chunk is its header and its bytes, ${as_blobs ? "as a Blob" : "read first"}`, async () => {
        const content = Uint8Array.from({ length: 1000 }, (_, n) => n % 251);
        const { line, socket } = welcomed({ as_blobs, source: source_of(content) });
        line.send([300, 400]);
        line.send([400, 410]);
        await until(() => socket.chunks.length === 2);
        assert.equal(socket.chunks[0] instanceof Blob, as_blobs);
        const [first, second] = await Promise.all(socket.chunks.map((chunk) => new Blob([chunk]).bytes?.() ?? bytes(chunk)));
        assert.deepEqual([...first.slice(0, 16)], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 44]);
        assert.deepEqual([...first.slice(16)], [...content.slice(300, 400)]);
        assert.equal(second.length, 26, "the order is kept");
    });
}

const bytes = async (chunk) => new Uint8Array(await new Blob([chunk]).arrayBuffer());

test("a chunk that cannot be read ends the connection", async () => {
    for (const source of [source_of(null), { read: async () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }) }]) {
        const { line, reports, socket } = welcomed({ as_blobs: false, source });
        line.send([0, 10]);
        line.send([10, 20]);
        await until(() => reports.length);
        assert.deepEqual([reports, socket.chunks], [closed(), []]);
    }
});

test("a chunk that was read too late is not sent behind the pause, which it would end", async () => {
    const { line, socket } = welcomed();
    line.send([0, 10]);
    line.pause();
    await until(() => line.buffered === 0);
    assert.deepEqual(socket.chunks, []);
});

test("bytes that are still being read are on their way, too", async () => {
    const { line, socket } = welcomed();
    socket.bufferedAmount = 5;
    line.send([0, 10]);
    assert.equal(line.buffered, 15);
    await until(() => socket.chunks.length);
    assert.equal(line.buffered, 5);
});

test("bytes that were read are what is sent, without another look at the file", async () => {
    const { line, socket } = welcomed({ source: { read: async () => new Uint8Array([1, 2, 3]) } });
    line.send([0, 3]);
    await until(() => socket.chunks.length);
    assert.deepEqual([...socket.chunks[0].slice(16)], [1, 2, 3]);
});

test("a connection that ends is reported once, with the server's reason if there is one", () => {
    const error = { code: 501, message: "no room", retry: true, retry_after: 10 };
    const { socket, reports } = welcomed();
    const { onclose } = socket;
    socket.say({ type: "error", name: "storage_full", ...error });
    assert.deepEqual(reports, closed(error));
    assert.equal(socket.onclose, null);
    const other = welcomed();
    other.socket.onclose({ code: 1006 });
    assert.deepEqual(other.reports, closed());
    assert.ok(onclose);
});

test("the close code tells the error when the message was lost", () => {
    for (const [close_code, code, retry] of [[4204, 204, false], [4501, 501, true]]) {
        const { socket, reports } = welcomed();
        socket.onclose({ code: close_code });
        assert.deepEqual([reports[0][1].code, reports[0][1].retry], [code, retry]);
    }
});

test("a socket that cannot even be made is a connection that ended", () => {
    const env = new FakeEnvironment();
    env.open_socket = () => {
        throw new DOMException("insecure", "SecurityError");
    };
    const reports = [];
    const line = new WebSocketConnection(env, { frontend: "https://u/", ticket: "t" }, { closed: () => reports.push("closed") });
    line.open(HELLO);
    assert.deepEqual(reports, [], "but not before open() has returned");
    env.pass(1);
    assert.deepEqual(reports, ["closed"]);
});

test("a handshake that does not end, and a server that does not answer, are not waited for long", () => {
    const never = connection();
    never.env.pass(10_000);
    assert.deepEqual(never.reports, closed());
    const silent = connection();
    silent.socket.onopen();
    silent.env.pass(4_999);
    assert.deepEqual(silent.reports, []);
    silent.env.pass(1);
    assert.deepEqual(silent.reports, closed());
    assert.equal(silent.socket.closed, 1000);
});

test("pings are answered, and keep an idle connection alive for ever", () => {
    const { env, socket, reports } = welcomed();
    for (let i = 0; i < 1000; i++) {
        env.pass(20_000);
        socket.say({ type: "ping" });
    }
    assert.deepEqual(reports, []);
    assert.equal(socket.texts.filter((message) => message.type === "pong").length, 1000);
});

test("silence for two and a half ping intervals is death", () => {
    const { env, reports } = welcomed();
    env.pass(45_000);
    assert.deepEqual(reports, []);
    env.pass(10_000);
    assert.deepEqual(reports, closed());
});

test("bytes that leave the browser are life, though no ack comes for minutes", () => {
    const { env, socket, reports } = welcomed();
    for (socket.bufferedAmount = 10_000_000; socket.bufferedAmount > 0; socket.bufferedAmount -= 100_000) env.pass(10_000);
    assert.deepEqual(reports, []);
    env.pass(60_000);
    assert.deepEqual(reports, closed());
});

test("a check finds a dead line in seconds and leaves a live or slow one alone", () => {
    const dead = welcomed();
    dead.line.check();
    assert.equal(dead.socket.texts.at(-1).type, "ping");
    dead.env.pass(5_000);
    assert.deepEqual(dead.reports, closed());
    const live = welcomed();
    live.line.check();
    live.env.pass(10);
    live.socket.say({ type: "pong" });
    live.env.pass(30_000);
    assert.deepEqual(live.reports, []);
    const slow = welcomed();
    slow.socket.bufferedAmount = 100_000;
    slow.line.check();
    while (slow.socket.bufferedAmount > 0) {
        slow.socket.bufferedAmount -= 10_000;
        slow.env.pass(4_000);
    }
    slow.socket.say({ type: "pong" });
    slow.env.pass(30_000);
    assert.deepEqual(slow.reports, []);
    const stuck = welcomed();
    stuck.socket.bufferedAmount = 100_000;
    stuck.line.check();
    stuck.socket.bufferedAmount = 60_000;
    stuck.env.pass(8_000);
    assert.deepEqual(stuck.reports, closed(), "what only the machine's own buffers have taken is no sign of life for long");
});

test("a check before the welcome changes nothing: that has its own limit", () => {
    const { line, socket, env, reports } = connection();
    socket.onopen();
    line.check();
    assert.equal(socket.sent.length, 1);
    env.pass(5_000);
    assert.deepEqual(reports, closed());
});

test("pause says so, waits a moment for the answer, then closes without a report", () => {
    const answered = welcomed();
    answered.line.pause();
    assert.equal(answered.socket.texts.at(-1).type, "pause");
    assert.equal(answered.socket.closed, null);
    answered.socket.say({ type: "ack", chunks: [[0, 10]] });
    answered.socket.say({ type: "paused" });
    assert.equal(answered.socket.closed, 1000);
    const unanswered = welcomed();
    unanswered.line.pause();
    unanswered.env.pass(2_000);
    assert.equal(unanswered.socket.closed, 1000);
    assert.deepEqual([answered.reports, unanswered.reports], [[], []]);
});

test("pause before the welcome is said after it, and one before the hello needs no words", () => {
    const greeted = connection();
    greeted.socket.onopen();
    greeted.line.pause();
    assert.deepEqual([greeted.socket.texts.length, greeted.socket.closed], [1, null]);
    greeted.socket.say(WELCOME);
    assert.equal(greeted.socket.texts.at(-1).type, "pause");
    greeted.socket.say({ type: "paused" });
    const silent = connection();
    silent.socket.onopen();
    silent.line.pause();
    silent.env.pass(5_000);
    const unopened = connection();
    unopened.line.pause();
    for (const { socket, env, reports } of [greeted, silent, unopened]) {
        assert.deepEqual([socket.closed, env.timers.size, reports], [1000, 0, []]);
    }
});

test("a socket that is lost during a pause is no news", () => {
    const { line, socket, reports } = welcomed();
    line.pause();
    socket.onclose({ code: 1006 });
    assert.deepEqual(reports, []);
});

test("cancel gives the reason", () => {
    const { line, socket } = welcomed();
    line.cancel("wrong film");
    assert.deepEqual(socket.texts.at(-1), { type: "cancel", reason: "wrong film" });
});

test("after close() nothing is reported and no timer is left", () => {
    const { line, socket, env, reports } = welcomed();
    line.close();
    assert.deepEqual([socket.closed, socket.onmessage, socket.onclose, env.timers.size], [1000, null, null, 0]);
    assert.deepEqual(reports, []);
});

test("says how much has not left the browser", () => {
    const { line, socket } = welcomed();
    socket.bufferedAmount = 1234;
    assert.equal(line.buffered, 1234);
    line.close();
    assert.equal(line.buffered, 0);
});

test("what limits the upload goes with a ping, and the server says how the bytes fare", () => {
    const { line, reports, socket } = welcomed();
    line.report("browser");
    assert.deepEqual(JSON.parse(socket.sent.at(-1)), { type: "ping", limit: "browser" });
    socket.say({ type: "path", limit: "disk" });
    assert.deepEqual(reports, [["path", { type: "path", limit: "disk" }]]);
});

test("it reads while there is nothing to send because the file is being read", async () => {
    const { line, socket } = welcomed();
    assert.equal(line.reads, false);
    line.send([0, 100]);
    assert.equal(line.reads, true);
    socket.bufferedAmount = 10;
    assert.equal(line.reads, false, "the line has something to send");
    socket.bufferedAmount = 0;
    await until(() => !line.reads);
});
