import assert from "node:assert/strict";
import test from "node:test";
import { Endgame } from "../../../../incoming/js/pool/endgame.js";
import { ChunkScheduler } from "../../../../incoming/js/pool/chunk_scheduler.js";

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
