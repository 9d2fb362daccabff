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
