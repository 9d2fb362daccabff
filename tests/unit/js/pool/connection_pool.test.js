// What is seen of the connections themselves; the rest is seen through the session (session.test.js).
import assert from "node:assert/strict";
import test from "node:test";
import { ConnectionPool } from "../../../../incoming/js/pool/connection_pool.js";
import { RateController } from "../../../../incoming/js/pool/rate_controller.js";
import { ChunkScheduler } from "../../../../incoming/js/pool/chunk_scheduler.js";
import { TokenBucket } from "../../../../incoming/js/pool/token_bucket.js";
import { FakeConnection } from "../support/connections.js";
import { FakeEnvironment } from "../support/environment.js";

const KIB = 1024;
const MIB = 1024 * KIB;

function lanes_of(size) {
    const owner = {
        connect: (kind, listener) => new FakeConnection(kind, listener),
        welcomed: () => {},
        hello: () => ({}),
        preferred: () => ({ kind: "http", fallen_back: false }),
        share: (connections) => connections,
        acknowledged: () => {},
        limit: () => null,
        acked: () => {},
        reported: () => {},
        may_complete: () => true,
        lost: () => {},
    };
    const [env, scheduler] = [new FakeEnvironment(), new ChunkScheduler(size)];
    return { env, scheduler, pool: new ConnectionPool(env, scheduler, new RateController(), new TokenBucket(() => [0]), owner) };
}

test("of those that are left at the end one is kept that the server has answered on", () => {
    const { scheduler, pool } = lanes_of(MIB);
    const [idle, answered] = [pool.open("websocket", {}), pool.open("websocket", {})];
    answered.connection.welcome();
    pool.flow();
    scheduler.confirm([[0, MIB]]);
    assert.ok(scheduler.chunks_of(answered.connection) > 0);
    pool.keep_one();
    assert.deepEqual([idle.connection.open_still, answered.connection.open_still], [false, true]);
});

test("of those that have nothing on their way the one is kept that was told of the end", () => {
    const { env, scheduler, pool } = lanes_of(4 * MIB);
    const opened = [pool.open("http", {}), pool.open("http", {}), pool.open("http", {})];
    for (const { connection } of opened) connection.welcome();
    pool.flow();
    pool.hold();
    const [resting, other, told] = opened;
    resting.connection.ack();
    env.time += 100;
    other.connection.ack();
    env.time += 100;
    told.connection.ack();
    scheduler.confirm([[0, 4 * MIB]]);
    pool.keep_one();
    assert.deepEqual(opened.map(({ connection }) => connection.open_still), [false, false, true]);
});

test("when a request is lost, those who only wait for news are asked whether they still hear any", () => {
    const { pool } = lanes_of(64 * KIB);
    const [sending, waiting] = [pool.open("http", {}), pool.open("http", {})];
    for (const { connection } of [sending, waiting]) connection.welcome();
    pool.flow();
    assert.deepEqual([sending.connection.chunks.length, waiting.connection.chunks.length], [1, 0]);
    sending.connection.lose({ code: 503, message: "busy", retry: true });
    assert.deepEqual(waiting.connection.calls, [], "the server itself has said why");
    const other = pool.open("http", {});
    other.connection.welcome();
    waiting.connection.lose();
    assert.deepEqual(other.connection.calls, ["check"]);
});

const AHEAD = [0, 64 * KIB];

for (const [why, welcome] of [
    ["of an upload without bytes", {}],
    ["of one with bytes", { extents: [[MIB, 2 * MIB]] }],
    ["of one with bytes that are not safe yet", { received: [[MIB, 2 * MIB]] }],
    ["that offers an object store", { direct: true, alignment: MIB }],
]) {
    test(`what goes with the hello counts if the welcome is ${why === "of an upload without bytes" ? "" : "not "}${why}`, () => {
        const { scheduler, pool } = lanes_of(4 * MIB);
        const { connection } = pool.open("websocket", { ahead: true });
        assert.deepEqual(connection.chunks, [AHEAD]);
        assert.equal(scheduler.bytes_ahead, 0, "nobody knows yet whether the server takes it");
        connection.welcome(welcome);
        pool.flow();
        const again = connection.chunks.slice(1).some(([start]) => start === 0);
        assert.equal(again, Object.keys(welcome).length > 0);
        connection.ack([AHEAD]);
        if (!again) assert.equal(scheduler.bytes_acked, 64 * KIB);
    });
}

test("what goes with the hello is missing again when the connection is lost before its welcome", () => {
    const { scheduler, pool } = lanes_of(4 * MIB);
    const first = pool.open("websocket", { ahead: true });
    first.connection.lose();
    const second = pool.open("websocket", {});
    second.connection.welcome();
    pool.flow();
    assert.deepEqual(second.connection.chunks[0], AHEAD);
    assert.equal(scheduler.bytes_acked, 0);
});

test("at the end an idle connection sends all that another is late with, not one chunk a round trip", () => {
    const { env, scheduler, pool } = lanes_of(512 * KIB);
    const [fast, slow] = [pool.open("websocket", {}), pool.open("websocket", {})];
    for (const { connection } of [fast, slow]) connection.welcome();
    pool.flow();
    const late = slow.connection.chunks.length;
    assert.ok(late > 1 && scheduler.bytes_missing === 0);
    fast.connection.buffered = 1;
    for (const chunk of fast.connection.chunks.splice(0)) {
        env.pass(10);
        fast.connection.ack([chunk]);
    }
    assert.deepEqual(fast.connection.chunks, [], "nothing is late yet");
    env.pass(1000);
    assert.equal(fast.connection.chunks.length, late);
});

test("at the end a connection with nothing left to send takes over from one that delivers much later", () => {
    const { env, scheduler, pool } = lanes_of(512 * KIB);
    const [fast, slow] = [pool.open("websocket", {}), pool.open("websocket", {})];
    env.pass(200);
    for (const { connection } of [fast, slow]) connection.welcome();
    pool.flow();
    assert.equal(scheduler.bytes_missing, 0);
    const last = slow.connection.chunks.at(-1);
    for (const chunk of fast.connection.chunks.splice(0)) {
        env.pass(10);
        fast.connection.ack([chunk]);
    }
    assert.deepEqual(fast.connection.chunks[0], last, "which that one would send last");
});
