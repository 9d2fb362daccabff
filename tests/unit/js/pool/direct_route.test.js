// The module for parts that go straight to an object store: when it is loaded, and what happens until it is there.
import assert from "node:assert/strict";
import test from "node:test";
import { load_direct } from "../../../../incoming/js/pool/direct_loader.js";
import { ConnectionPool } from "../../../../incoming/js/pool/connection_pool.js";
import { ChunkScheduler } from "../../../../incoming/js/pool/chunk_scheduler.js";
import { DirectRoute } from "../../../../incoming/js/pool/direct_route.js";
import { DirectSender } from "../../../../incoming/js/pool/direct_sender.js";
import { RateController } from "../../../../incoming/js/pool/rate_controller.js";
import { TokenBucket } from "../../../../incoming/js/pool/token_bucket.js";
import { FakeConnection } from "../support/connections.js";
import { FakeEnvironment, until } from "../support/environment.js";

const PART = 1000;
const LOADED_WITHIN = 10_000;

/** A route whose module comes, or does not, when the test says so. */
class Bench {
    env = new FakeEnvironment();
    scheduler = new ChunkScheduler(5 * PART);
    calls = [];
    loads = 0;
    gave_up = 0;
    control = {};

    constructor() {
        this.scheduler.align(PART);
        const loading = () => {
            this.loads++;
            return new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
        };
        this.route = new DirectRoute(this.env, this.scheduler, loading, () => this.gave_up++);
    }

    async come() {
        const called = (name) => (...given) => this.calls.push([name, ...given]);
        this.resolve({ active: true, begin: called("begin"), flow: called("flow"), stop: called("stop"), lost: called("lost") });
        await until(() => this.route.sender);
    }

    /** What another connection may send meanwhile. */
    take() {
        return this.scheduler.take({}, PART);
    }
}

test("nothing is loaded before a server offers it, and then once", () => {
    const bench = new Bench();
    bench.route.flow();
    bench.route.begin(bench.control, 1);
    assert.equal(bench.loads, 0, "a server without parts offers nothing");
    bench.route.begin(bench.control, PART);
    bench.route.begin({}, PART);
    assert.equal(bench.loads, 1);
});

test("until the module is there no other connection begins a part, and the first offer counts", async () => {
    const bench = new Bench();
    bench.route.begin(bench.control, PART);
    bench.route.begin({}, PART);
    bench.route.flow();
    assert.deepEqual([bench.route.active, bench.take()], [true, null]);
    await bench.come();
    assert.deepEqual(bench.calls, [["begin", bench.control, PART], ["flow"]]);
    bench.env.pass(2 * LOADED_WITHIN);
    assert.equal(bench.gave_up, 0);
});

test("where the module cannot be loaded all goes through the server", async () => {
    const bench = new Bench();
    bench.route.begin(bench.control, PART);
    bench.reject(new TypeError("Failed to fetch dynamically imported module"));
    await until(() => bench.gave_up);
    assert.deepEqual([bench.route.active, bench.take()], [false, [0, PART]]);
    bench.route.begin({}, PART);
    assert.deepEqual([bench.route.active, bench.loads], [false, 1], "it is not asked for again by this upload");
});

test("an upload does not wait for a module that is never answered, nor change its mind when it comes late", async () => {
    const bench = new Bench();
    bench.route.begin(bench.control, PART);
    bench.env.pass(LOADED_WITHIN - 1);
    assert.deepEqual([bench.gave_up, bench.take()], [0, null]);
    bench.env.pass(1);
    assert.deepEqual([bench.gave_up, bench.take()], [1, [0, PART]]);
    bench.resolve({ active: false });
    await new Promise((done) => setImmediate(done));
    assert.equal(bench.route.sender, null);
});

test("when the connection that offered it is gone, or the upload paused, the offer is too", async () => {
    for (const end of [(route, control) => route.lost(control), (route) => route.stop()]) {
        const bench = new Bench();
        bench.route.begin(bench.control, PART);
        bench.route.lost({});
        assert.equal(bench.route.active, true, "another connection is of no matter");
        end(bench.route, bench.control);
        assert.deepEqual([bench.route.active, bench.take()], [false, [0, PART]]);
        const next = {};
        bench.route.begin(next, PART);
        assert.equal(bench.loads, 1);
        await bench.come();
        assert.deepEqual(bench.calls, [["begin", next, PART]]);
    }
});

test("a pool loads the sender at the first offer, and asks for URLs over the connection that made it", async () => {
    assert.equal((await load_direct()).DirectSender, DirectSender);
    const owner = {
        connect: (kind, listener) => Object.assign(new FakeConnection(kind, listener), { about_parts: (...given) => asked.push(given) }),
        share_direct: (connections) => connections,
        welcomed: () => {},
        may_complete: () => true,
        received: () => {},
        read: async () => new Uint8Array(PART),
    };
    const asked = [];
    const scheduler = new ChunkScheduler(2 * PART);
    scheduler.align(PART);
    const pool = new ConnectionPool(new FakeEnvironment(), scheduler, new RateController(), new TokenBucket(() => [0]), owner);
    const pooled = pool.open("websocket", {});
    pooled.connection.welcome();
    pool.go_direct(pooled, PART);
    pool.flow();
    assert.deepEqual([pool.transport, pooled.connection.chunks], ["direct", []]);
    await until(() => asked.length > 0);
    assert.deepEqual(asked, [["sign", [1, 2]]]);
    pool.close();
});
