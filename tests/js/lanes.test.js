// What is seen of the connections themselves; the rest is seen through the session (session.test.js).
import assert from "node:assert/strict";
import test from "node:test";
import { Lanes } from "../../incoming/js/lanes.js";
import { Pace } from "../../incoming/js/pace.js";
import { Scheduler } from "../../incoming/js/scheduler.js";
import { TokenBucket } from "../../incoming/js/token_bucket.js";
import { FakeConnection } from "./support/connections.js";
import { FakeEnvironment } from "./support/environment.js";

const KIB = 1024;
const MIB = 1024 * KIB;

function lanes_of(size) {
    const owner = {
        connect: (kind, listener) => new FakeConnection(kind, listener),
        welcomed: () => {},
        acked: () => {},
        told: () => {},
        may_complete: () => true,
        lost: () => {},
    };
    const [env, scheduler] = [new FakeEnvironment(), new Scheduler(size)];
    return { env, scheduler, lanes: new Lanes(env, scheduler, new Pace(), new TokenBucket(() => [0]), owner) };
}

test("of those that are left at the end one is kept that the server has answered on", () => {
    const { scheduler, lanes } = lanes_of(MIB);
    const [idle, answered] = [lanes.open("websocket", {}), lanes.open("websocket", {})];
    answered.connection.welcome();
    lanes.flow();
    scheduler.confirm([[0, MIB]]);
    assert.ok(scheduler.chunks_of(answered.connection) > 0);
    lanes.keep_one();
    assert.deepEqual([idle.connection.open_still, answered.connection.open_still], [false, true]);
});

test("of those that have nothing on their way the one is kept that was told of the end", () => {
    const { env, scheduler, lanes } = lanes_of(4 * MIB);
    const opened = [lanes.open("http", {}), lanes.open("http", {}), lanes.open("http", {})];
    for (const { connection } of opened) connection.welcome();
    lanes.flow();
    lanes.hold();
    const [resting, other, told] = opened;
    resting.connection.ack();
    env.time += 100;
    other.connection.ack();
    env.time += 100;
    told.connection.ack();
    scheduler.confirm([[0, 4 * MIB]]);
    lanes.keep_one();
    assert.deepEqual(opened.map(({ connection }) => connection.open_still), [false, false, true]);
});

test("when a request is lost, those who only wait for news are asked whether they still hear any", () => {
    const { lanes } = lanes_of(64 * KIB);
    const [sending, waiting] = [lanes.open("http", {}), lanes.open("http", {})];
    for (const { connection } of [sending, waiting]) connection.welcome();
    lanes.flow();
    assert.deepEqual([sending.connection.chunks.length, waiting.connection.chunks.length], [1, 0]);
    sending.connection.lose({ code: 503, message: "busy", retry: true });
    assert.deepEqual(waiting.connection.calls, [], "the server itself has said why");
    const other = lanes.open("http", {});
    other.connection.welcome();
    waiting.connection.lose();
    assert.deepEqual(other.connection.calls, ["check"]);
});
