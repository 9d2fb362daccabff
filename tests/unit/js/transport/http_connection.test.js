import assert from "node:assert/strict";
import test from "node:test";
import { HttpConnection } from "../../../../incoming/js/transport/http_connection.js";
import { LongPoll } from "../../../../incoming/js/transport/long_poll.js";
import { WELCOME, source_of } from "../support/connections.js";
import { FakeEnvironment, until } from "../support/environment.js";

const HELLO = { session: "session-1", name: "film.mp4", size: 1000 };
const URL = "https://up.example/f/upload/t1";
/** Milliseconds in which what begins to wait for news is gathered into one request. */
const GATHER = 50;
const STATUS = { id: "t1", state: "uploading", reason: "", code: null, arrived: 0, extents: [] };

function connection({ as_blobs = true, source = source_of(), whole = false } = {}) {
    const env = new FakeEnvironment();
    const reports = [];
    const report = (name) => (value) => reports.push([name, value]);
    const listener = Object.fromEntries(["welcome", "ack", "state", "path", "too_large", "closed"].map((name) => [name, report(name)]));
    const frontend = "https://up.example/f/";
    const target = { frontend, ticket: "t1", source, news: new LongPoll(env, frontend), as_blobs: () => as_blobs, closed: () => {} };
    const line = new HttpConnection(env, { ...target, whole_failed: report("whole_failed") }, listener);
    line.open(HELLO, whole);
    return { env, line, reports };
}

function welcomed(options, changes = {}) {
    const all = connection(options);
    all.env.request.answer(200, { ...WELCOME, epoch: 3, ...changes });
    all.reports.length = 0;
    return all;
}

async function sending(options) {
    const all = welcomed(options);
    all.line.send([300, 400]);
    return { ...all, put: await put_of(all.env) };
}

async function put_of(env) {
    await until(() => env.request.method === "PUT");
    return env.request;
}

const closed = (problem = null) => [["closed", problem]];

test("says hello by POST, without anything that would need a preflight", () => {
    const { env, reports } = connection();
    assert.deepEqual([env.request.method, env.request.url], ["POST", URL]);
    assert.deepEqual(Object.keys(env.request.headers), ["Accept"]);
    assert.deepEqual(JSON.parse(env.request.body), { type: "hello", ...HELLO });
    env.request.answer(200, WELCOME);
    assert.deepEqual(reports, [["welcome", WELCOME]]);
});

test("a chunk is a PUT of its bytes with its range, in the session's epoch", async () => {
    for (const as_blobs of [true, false]) {
        const content = Uint8Array.from({ length: 1000 }, (_, n) => n % 251);
        const { env, line } = welcomed({ as_blobs, source: source_of(content) });
        line.send([300, 400]);
        await until(() => env.request.method === "PUT");
        const { request } = env;
        assert.equal(request.url, `${URL}?session=session-1&epoch=3&limit=`);
        assert.equal(request.headers["Content-Range"], "bytes 300-399/1000");
        assert.deepEqual(new Uint8Array(await new Blob([request.body]).arrayBuffer()), content.slice(300, 400));
    }
});

test("308 acknowledges the chunk", async () => {
    const { put, reports } = await sending();
    put.answer(308);
    assert.deepEqual(reports, [["ack", [[300, 400]]]]);
});

test("behind a 308, even one that has a status, the connection stays free for the next chunk for a moment", async () => {
    const { put, env } = await sending();
    const count = env.requests.length;
    put.answer(308, { ...STATUS, path: {} });
    env.pass(399);
    assert.equal(env.requests.length, count);
    env.pass(1 + GATHER);
    assert.deepEqual([env.requests.length, env.request.method], [count + 1, "GET"]);
});

test("200 acknowledges the last one and tells the state, then news are waited for", async () => {
    const { put, reports, env } = await sending();
    put.answer(200, { ...STATUS, state: "arrived" });
    assert.deepEqual(reports, [
        ["state", { state: "arrived", reason: "", code: null }],
        ["ack", [[300, 400]]],
    ]);
    env.pass(GATHER);
    assert.deepEqual([env.request.method, env.request.url], ["GET", `${URL}?wait=25&state=arrived`]);
});

test("news come by long-poll, one after the other", () => {
    const { env, reports } = welcomed({}, { state: "arrived" });
    assert.equal(env.request.url, `${URL}?wait=0&state=uploading`, "the welcome does not tell reasons: the status is read");
    env.request.answer(200, { ...STATUS, state: "arrived" });
    env.pass(GATHER);
    env.pass(25_000);
    env.request.answer(200, { ...STATUS, state: "arrived" });
    env.pass(0);
    env.request.answer(200, { ...STATUS, state: "failed", reason: "the app said 418", code: 303 });
    assert.deepEqual(reports, [
        ["state", { state: "arrived", reason: "", code: null }],
        ["state", { state: "failed", reason: "the app said 418", code: 303 }],
    ]);
});

test("only a connection that has nothing to send for a moment asks for news, and stops for the next chunk", async () => {
    const { env, line, reports } = welcomed();
    env.pass(399 + GATHER);
    assert.equal(env.requests.length, 1);
    env.pass(1);
    const poll = env.request;
    assert.equal(poll.method, "GET");
    line.send([0, 10]);
    assert.ok(poll.aborted);
    await put_of(env);
    assert.deepEqual(reports, []);
});

test("a first piece that takes long is left alone, although it is sent within the welcome", async () => {
    const env = new FakeEnvironment();
    const target = { frontend: "https://up.example/f/", ticket: "t1", source: source_of(), as_blobs: () => true, closed: () => {} };
    const acked = [];
    const listener = { welcome: () => line.send([0, 100]), ack: (chunks) => acked.push(...chunks) };
    const line = new HttpConnection(env, target, listener);
    line.open(HELLO);
    env.request.answer(200, WELCOME);
    const put = await put_of(env);
    env.pass(5000);
    assert.ok(!put.aborted);
    put.answer(308);
    assert.deepEqual(acked, [[0, 100]]);
});

test("a connection that is closed within the welcome asks for nothing more", () => {
    const env = new FakeEnvironment();
    const target = { frontend: "https://up.example/f/", ticket: "t1", source: source_of(), as_blobs: () => true, closed: () => {} };
    const line = new HttpConnection(env, target, { welcome: () => line.close() });
    line.open(HELLO);
    env.request.answer(200, { ...WELCOME, state: "arrived" });
    env.pass(60_000);
    assert.equal(env.requests.length, 1);
});

test("an upload cancelled by the app while nothing is sent is known from the poll", () => {
    const { env, reports } = welcomed();
    env.pass(400 + GATHER);
    env.request.answer(200, { ...STATUS, state: "cancelled", reason: "by the app" });
    assert.deepEqual(reports, [["state", { state: "cancelled", reason: "by the app", code: null }]]);
});

test("a piece that is too large for something on the way is reported as that, and the connection stays", async () => {
    for (const body of [null, { code: 103, message: "too large", retry: false, retry_after: null }]) {
        const { put, reports, line, env } = await sending();
        put.answer(413, body);
        assert.deepEqual(reports, [["too_large", [300, 400]]]);
        line.send([300, 350]);
        await until(() => env.request !== put);
        assert.equal(env.request.headers["Content-Range"], "bytes 300-349/1000");
    }
});

test("a file that is too large for the server is its error, not the piece's", async () => {
    const { put, reports } = await sending();
    put.answer(413, { code: 401, message: "the limit is 10", retry: false, retry_after: null });
    assert.deepEqual(reports, closed({ code: 401, message: "the limit is 10", retry: false, retry_after: null }));
});

test("the server's own errors pass through, with their codes", async () => {
    const problem = { code: 204, message: "elsewhere", retry: false, retry_after: null };
    const { put, reports } = await sending();
    put.answer(409, { ...problem, name: "taken_over" });
    assert.deepEqual(reports, closed(problem));
    const hello = connection();
    hello.env.request.answer(404, { code: 200, message: "no such ticket", retry: false, retry_after: null });
    assert.equal(hello.reports[0][1].code, 200);
});

test("what a proxy says in the server's place passes by itself, after the time it names", async () => {
    for (const status of [502, 503, 504, 408, 429, 404, 403]) {
        const { put, reports } = await sending();
        put.answer(status, null, { "Retry-After": "7" });
        const [[, problem]] = reports;
        assert.deepEqual([problem.code, problem.retry, problem.retry_after], [1004, true, 7]);
        assert.match(problem.message, new RegExp(String(status)));
    }
});

test("a page that pretends to be the answer is none", async () => {
    const { put, reports } = await sending();
    put.answer(200);
    assert.equal(reports[0][1].code, 1004);
    const hello = connection();
    hello.env.request.answer(200, { welcome: "to our hotel" });
    assert.equal(hello.reports[0][1].code, 1004);
});

test("a request that gets no answer at all is a lost connection", async () => {
    const { put, reports } = await sending();
    put.answer(0);
    assert.deepEqual(reports, closed());
});

test("a hello and a poll that hang are given up", () => {
    const hello = connection();
    hello.env.pass(10_000);
    assert.deepEqual(hello.reports, closed());
    const poll = welcomed();
    poll.env.pass(400 + GATHER);
    poll.env.pass(34_999);
    assert.deepEqual(poll.reports, []);
    poll.env.pass(1);
    assert.deepEqual(poll.reports, closed());
});

test("a slow piece is left alone as long as its bytes move", async () => {
    const { env, put, reports } = await sending();
    for (let i = 0; i < 100; i++) {
        env.pass(30_000);
        put.upload.onprogress();
    }
    put.answer(308);
    assert.deepEqual(reports.map(([name]) => name), ["ack"]);
});

test("a silent piece: the server is asked whether its bytes still come", async () => {
    const flowing = await sending();
    flowing.env.pass(56_000);
    assert.deepEqual([flowing.env.request.method, flowing.env.request.url], ["GET", URL]);
    flowing.env.request.answer(200, { ...STATUS, arrived: 310 });
    flowing.env.pass(4_000);
    flowing.env.request.answer(200, { ...STATUS, arrived: 350 });
    assert.deepEqual(flowing.reports, []);
    assert.ok(!flowing.put.aborted);
    const dead = await sending();
    dead.env.pass(56_000);
    dead.env.request.answer(200, { ...STATUS, arrived: 310 });
    dead.env.pass(4_000);
    dead.env.request.answer(200, { ...STATUS, arrived: 310 });
    assert.deepEqual(dead.reports, closed());
    assert.ok(dead.put.aborted);
});

test("a piece that only the machine's own buffers have taken is asked about again", async () => {
    const { env, put, reports } = await sending();
    env.pass(56_000);
    env.request.answer(200, { ...STATUS, arrived: 310 });
    put.upload.onprogress();
    env.pass(4_000);
    env.request.answer(200, { ...STATUS, arrived: 310 });
    assert.deepEqual(reports, []);
    env.request.answer(200, { ...STATUS, arrived: 310 });
    env.pass(4_000);
    env.request.answer(200, { ...STATUS, arrived: 310 });
    assert.deepEqual(reports, closed());
});

test("a check does not disturb a hello", () => {
    const { env, line, reports } = connection();
    line.check();
    assert.equal(env.requests.length, 1);
    env.request.answer(200, WELCOME);
    assert.equal(reports.length, 1);
});

test("a silent piece and a server that does not answer: the connection is lost", async () => {
    for (const silence of [({ env }) => env.request.answer(0), ({ env }) => env.pass(10_000)]) {
        const all = await sending();
        all.env.pass(56_000);
        silence(all);
        assert.deepEqual(all.reports, closed());
    }
});

test("a check asks at once", async () => {
    const { env, line } = await sending();
    line.check();
    assert.deepEqual([env.request.method, env.request.url], ["GET", URL]);
    const idle = welcomed();
    idle.line.check();
    assert.equal(idle.env.request.url, `${URL}?wait=0&state=uploading`);
});

test("pause stops what is under way and tells the server", async () => {
    const { env, line, put } = await sending();
    line.pause();
    assert.ok(put.aborted);
    assert.deepEqual([env.request.method, JSON.parse(env.request.body)], ["POST", { type: "pause", epoch: 3 }]);
    assert.equal(env.timers.size, 0);
});

test("pause before the welcome is said after it, in its epoch", () => {
    const { env, line, reports } = connection();
    line.pause();
    assert.deepEqual([env.requests.length, env.request.aborted], [1, false]);
    env.request.answer(200, { ...WELCOME, epoch: 7 });
    assert.deepEqual(JSON.parse(env.request.body), { type: "pause", epoch: 7 });
    assert.deepEqual([env.requests.length, env.timers.size, reports], [2, 0, []]);
});

test("a hello that fails after a pause is no news", () => {
    const { env, line, reports } = connection();
    line.pause();
    env.request.answer(503, { code: 500, message: "restarting", retry: true });
    assert.deepEqual([env.requests.length, env.timers.size, reports], [1, 0, []]);
});

test("a server that has no such URL is an error that names it", () => {
    const { env, reports } = connection();
    env.request.answer(404, { code: 106, message: "no such URL", retry: false, retry_after: null });
    assert.deepEqual(reports, closed({ code: 106, message: `no such URL: ${URL}`, retry: false, retry_after: null }));
});

test("cancel stops what is under way, and the answer is the state", async () => {
    const { env, line, put, reports } = await sending();
    line.cancel("wrong film");
    assert.ok(put.aborted);
    assert.deepEqual(JSON.parse(env.request.body), { type: "cancel", reason: "wrong film" });
    env.request.answer(200, { type: "state", state: "cancelled", reason: "wrong film", code: null });
    assert.deepEqual(reports, [["state", { state: "cancelled", reason: "wrong film", code: null }]]);
});

test("after close() nothing is reported, nothing is under way and no timer is left", async () => {
    const { env, line, put, reports } = await sending({ as_blobs: false });
    line.close();
    await until(() => true);
    assert.equal(env.timers.size, 0);
    assert.ok(put.aborted || put.method === "POST");
    assert.deepEqual(reports, []);
});

test("a piece that cannot be read ends the connection", async () => {
    const { line, reports } = welcomed({ source: source_of(null) });
    line.send([300, 400]);
    await until(() => reports.length);
    assert.deepEqual(reports, closed());
});

test("the bytes that were read are what is sent, without another look at the file", async () => {
    const bytes = new Uint8Array([1, 2, 3]);
    const { put } = await sending({ source: { read: async () => bytes } });
    assert.equal(put.body, bytes);
});

test("a piece of which nothing leaves for 5 s: the file is doubted first", async () => {
    const gone = { ...source_of(), doubt: async () => ({ code: 1001 }) };
    const { env, put, reports } = await sending({ source: gone });
    env.pass(3_000);
    put.upload.onprogress();
    env.pass(4_000);
    await until(() => true);
    assert.deepEqual(reports, [], "it moved a moment ago");
    env.pass(3_000);
    await until(() => reports.length);
    assert.deepEqual(reports, closed());
    assert.ok(put.aborted);
    assert.equal(env.timers.size, 0);
});

test("a file that is in order is no reason to give a silent piece up", async () => {
    const doubted = [];
    const source = { ...source_of(), doubt: async (chunk) => doubted.push(chunk) && null };
    const { env, put, reports } = await sending({ source });
    env.pass(20_000);
    await until(() => true);
    assert.deepEqual([doubted[0], put.aborted, reports], [[300, 400], false, []]);
});

test("a file that takes forever to read is asked about like a silent piece", async () => {
    const { env, line } = welcomed({ source: { ...source_of(), read: () => new Promise(() => {}) } });
    line.send([300, 400]);
    env.pass(56_000);
    assert.deepEqual([env.request.method, env.request.url], ["GET", URL]);
});

test("what limits the upload goes with the next chunk, and its answer says how the bytes fare", async () => {
    const { env, line, reports } = welcomed();
    line.report("browser");
    line.send([300, 400]);
    const put = await put_of(env);
    assert.equal(put.url, `${URL}?session=session-1&epoch=3&limit=browser`);
    put.answer(308, { state: "uploading", reason: "", code: null, path: { limit: "disk" } });
    assert.deepEqual(reports, [
        ["path", { limit: "disk" }],
        ["ack", [[300, 400]]],
    ]);
});

test("knows by which protocol the browser made its requests", () => {
    const { env, line } = connection();
    assert.equal(line.protocol, "");
    env.protocols[URL] = "h2";
    assert.equal(line.protocol, "h2");
});

const CONTENT = Uint8Array.from({ length: 1000 }, (_, n) => n % 251);

async function whole(source = source_of(CONTENT)) {
    const all = connection({ source, whole: true });
    await until(() => all.env.request ?? all.reports.length);
    return all;
}

test("a small file goes with the hello, without anything that would need a preflight", async () => {
    const { env, reports } = await whole();
    const url = new globalThis.URL(env.request.url);
    assert.deepEqual([env.request.method, url.origin + url.pathname], ["POST", `${URL}/whole`]);
    assert.deepEqual(JSON.parse(url.searchParams.get("hello")), { type: "hello", ...HELLO });
    assert.deepEqual(Object.keys(env.request.headers), ["Accept"]);
    assert.equal(env.request.upload.onprogress, undefined, "a listener for progress would need one, too");
    assert.deepEqual(env.request.body, CONTENT);
    env.request.answer(200, { ...WELCOME, state: "arrived" });
    assert.deepEqual(reports.map(([name]) => name), ["welcome"]);
    env.pass(GATHER);
    assert.deepEqual([env.requests.length, env.request.url], [2, `${URL}?wait=25&state=arrived`]);
    env.request.answer(200, { ...STATUS, state: "finished" });
    assert.deepEqual(reports[1], ["state", { state: "finished", reason: "", code: null }]);
});

test("a welcome that still awaits bytes is followed by chunks", async () => {
    const { env, line, reports } = await whole();
    env.request.answer(200, { ...WELCOME, epoch: 4, extents: [[0, 300]] });
    assert.deepEqual(reports.map(([name]) => name), ["welcome"]);
    line.send([300, 1000]);
    await until(() => env.request.method === "PUT");
    assert.equal(env.request.url, `${URL}?session=session-1&epoch=4&limit=`);
});

test("what the server says of the upload ends it as usual", async () => {
    const { env, reports } = await whole();
    const problem = { code: 200, message: "unknown ticket", retry: false, retry_after: null };
    env.request.answer(404, problem);
    assert.deepEqual(reports, closed(problem));
});

test("a server, or a proxy, that takes no file with its hello is remembered", async () => {
    for (const [status, body] of [
        [404, { code: 106, message: "no such URL" }],
        [405, { code: 105, message: "POST is not a method of this URL" }],
        [413, "<html>"],
        [414, "<html>"],
        [403, "<html>"],
    ]) {
        const { env, reports } = await whole();
        env.request.answer(status, body);
        assert.deepEqual(reports, [["whole_failed", true], ...closed()], `${status}`);
    }
});

test("a request that was cut, and one without an answer, may have had bad luck", async () => {
    const cut = await whole();
    cut.env.request.answer(0);
    assert.deepEqual(cut.reports, [["whole_failed", false], ...closed()]);
    const silent = await whole();
    silent.env.pass(14_999);
    assert.deepEqual(silent.reports, []);
    silent.env.pass(1);
    assert.deepEqual(silent.reports, [["whole_failed", false], ...closed()]);
    assert.ok(silent.env.request.aborted);
});

test("a file that was changed while it was read is not sent", async () => {
    const { env, reports } = await whole(source_of(null));
    assert.deepEqual([env.requests.length, reports], [0, closed()]);
});

test("a cancellation takes the place of a file that is under way", async () => {
    const { env, line, reports } = await whole();
    const [first] = env.requests;
    line.cancel("no");
    assert.ok(first.aborted);
    assert.deepEqual([env.request.url, JSON.parse(env.request.body)], [URL, { type: "cancel", reason: "no" }]);
    env.request.answer(200, { type: "state", state: "cancelled", reason: "no", code: 302 });
    assert.deepEqual(reports, [["state", { state: "cancelled", reason: "no", code: 302 }]]);
});
