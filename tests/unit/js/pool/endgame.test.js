import assert from "node:assert/strict";
import test from "node:test";
import { Endgame } from "../../../../incoming/js/pool/endgame.js";
import { ChunkScheduler } from "../../../../incoming/js/pool/chunk_scheduler.js";
import { RateController } from "../../../../incoming/js/pool/rate_controller.js";

const a = { name: "a" };

/** All of a file of 100 bytes is on its way since time 0, and the line needs so many milliseconds for it. */
function ending(remaining, expected = 0) {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 100);
    const endgame = new Endgame(scheduler, { remaining, expected: () => expected });
    assert.ok(endgame.has_come(0));
    return { scheduler, endgame };
}

test("it has not come while bytes are still to be sent, and is over when all have arrived", () => {
    const scheduler = new ChunkScheduler(100);
    const endgame = new Endgame(scheduler, { remaining: 0 });
    assert.ok(!endgame.has_come(0));
    scheduler.take(a, 99);
    assert.ok(!endgame.has_come(0));
    scheduler.take(a, 1);
    assert.ok(endgame.has_come(0));
    scheduler.confirm([[0, 100]]);
    assert.ok(!endgame.has_come(0));
});

test("nothing is late before the line could have carried it", () => {
    const { endgame } = ending(3000);
    assert.ok(!endgame.is_late(2999));
    assert.ok(endgame.is_late(3000));
});

test("nor at once on a line that is fast, and a moment that has come is not put off", () => {
    const { endgame } = ending(1);
    assert.ok(!endgame.is_late(190));
    assert.ok(endgame.has_come(190));
    assert.ok(endgame.is_late(200));
});

test("what a lost connection gives back begins it anew", () => {
    const { scheduler, endgame } = ending(1000);
    scheduler.drop(a);
    assert.ok(!endgame.has_come(900));
    scheduler.take(a, 100);
    assert.ok(endgame.has_come(950));
    assert.ok(!endgame.is_late(1900));
    assert.ok(endgame.is_late(1950));
});

test("a connection is stuck when it is silent for much longer than expected", () => {
    const { endgame } = ending(0, 2000);
    assert.ok(!endgame.is_stuck({ rate: a, last_ack: 100 }, 11_100));
    assert.ok(endgame.is_stuck({ rate: a, last_ack: 100 }, 11_101));
});

const KIB = 1024;

/** All of a file is in flight at 4 s, `left` bytes of it over each of some connections with these rates in bytes a second. */
function shared(lanes, setup = 400) {
    const total = lanes.reduce((sum, { left }) => sum + left, 0);
    const [scheduler, rates] = [new ChunkScheduler(total), new RateController()];
    const pool = lanes.map(({ buffered = 0, rate }) => ({ connection: { buffered }, rate: rate ? rates.join(setup) : null }));
    for (let now = 0; now < 4000; now += 100) {
        for (const [i, { rate }] of lanes.entries()) if (rate) rates.sent(pool[i].rate, rate / 10, now);
        for (const [i, { rate }] of lanes.entries()) if (rate) rates.acked(pool[i].rate, rate / 10, now + 100, now);
    }
    for (const [i, { left }] of lanes.entries()) {
        pool[i].rate ??= rates.join(setup);
        scheduler.take(pool[i].connection, left);
        rates.sent(pool[i].rate, left, 4000);
    }
    return { pool, scheduler, endgame: new Endgame(scheduler, rates) };
}

test("a connection with nothing left to send takes half of what another delivers much later", () => {
    const { pool, endgame } = shared([{ left: 100 * KIB, rate: 1e6 }, { left: 800 * KIB, rate: 1e6 }, { left: 200 * KIB, rate: 1e6 }]);
    assert.deepEqual(endgame.overtaken(pool[0], pool, 4000), { connection: pool[1].connection, bytes: 400 * KIB });
    assert.equal(endgame.overtaken(pool[1], pool, 4000), null, "it is the last one itself");
});

test("all of a small chunk, but nothing that arrives about as soon without", () => {
    for (const [rate, taken] of [[20_000, true], [1e6, false]]) {
        const { pool, endgame } = shared([{ left: 10 * KIB, rate: 1e6 }, { left: 64 * KIB, rate }]);
        const found = endgame.overtaken(pool[0], pool, 4000);
        assert.deepEqual(found, taken ? { connection: pool[1].connection, bytes: 64 * KIB } : null, `${rate} bytes a second`);
    }
});

test("nothing while it has more to send, or when both carry it already", () => {
    const lanes = [{ left: 10 * KIB, rate: 1e6 }, { left: 64 * KIB, rate: 20_000 }];
    const busy = shared([{ ...lanes[0], buffered: 1 }, lanes[1]]);
    assert.equal(busy.endgame.overtaken(busy.pool[0], busy.pool, 4000), null);
    const { pool, scheduler, endgame } = shared(lanes);
    assert.deepEqual(scheduler.repeat(pool[0].connection, 64 * KIB, pool[1].connection), [10 * KIB, 74 * KIB]);
    assert.equal(scheduler.bytes_alone(pool[1].connection), 0);
    assert.equal(endgame.overtaken(pool[0], pool, 4000), null);
    assert.equal(scheduler.repeat(pool[0].connection, 64 * KIB, pool[1].connection), null);
});

test("a connection that has not shown anything yet takes over from nobody, and is judged by what is assumed of it", () => {
    const { pool, endgame } = shared([{ left: 64 * KIB, rate: 1e6 }, { left: 64 * KIB, rate: 0 }, { left: 640 * KIB, rate: 0 }]);
    assert.equal(endgame.overtaken(pool[1], pool, 4000), null);
    assert.equal(endgame.overtaken(pool[0], pool, 4000).connection, pool[2].connection);
});

test("no more than the line carries while a connection is set up, until there are bytes to send again", () => {
    const lanes = [{ left: 10 * KIB, rate: 1e6 }, { left: 400 * KIB, rate: 20_000 }];
    const { pool, scheduler, endgame } = shared(lanes, 250);
    assert.ok(endgame.has_come(4000));
    assert.equal(endgame.overtaken(pool[0], pool, 4000).bytes, 200 * KIB, "of 0.25 s");
    endgame.took_over(100 * KIB);
    assert.equal(endgame.overtaken(pool[0], pool, 4000), null);
    scheduler.put_back(pool[0].connection, 0);
    assert.ok(!endgame.has_come(4000));
    scheduler.take(pool[0].connection, 10 * KIB);
    assert.ok(endgame.has_come(4000));
    assert.ok(endgame.overtaken(pool[0], pool, 4000));
});
