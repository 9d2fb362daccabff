// Lines are simulated: a number of connections brings a goodput, with noise; acks come in chunks.
import assert from "node:assert/strict";
import test from "node:test";
import { ConcurrencyController } from "../../../../incoming/js/pool/concurrency_controller.js";
import { random_numbers } from "../support/random.js";

const MB = 1e6;
const SECOND = 1000;

/**
 * @param goodput of a number of connections, bytes a second
 * @returns the number of connections at the end of each second, and the mean goodput
 */
function upload_over(goodput, { setup, limit = 16, seconds = 60, seed = 1, noise = 0.1, full = false, refused_above = Infinity } = {}) {
    const random = random_numbers(seed);
    const count = new ConcurrencyController();
    const pool = [];
    const share = (open) => open.reduce((sum, pooled) => sum + pooled.luck, 0) / open.length;
    const counts = [];
    let bytes = 0;
    count.begin(0, limit, setup);
    for (let now = 0; now <= seconds * SECOND; now += 20) {
        const wanted = Math.min(count.target, refused_above);
        while (pool.length < wanted) pool.push({ ready: now + setup, sent: 0, luck: 1 });
        pool.length = wanted;
        const open = pool.filter((pooled) => pooled.ready <= now);
        for (const pooled of open) {
            if (random.below(50) === 0) pooled.luck = 1 + noise * (2 * random.next() - 1);
            const warm = Math.min(1, (now - pooled.ready) / (3 * setup));
            // What one does not take of a full line the others do; chance of their own have lines that are not.
            const rate = (goodput(open.length, now) / open.length) * warm * (pooled.luck / (full ? share(open) : 1));
            const chunk = Math.max(65536, rate * 0.7);
            pooled.sent += rate * 0.02;
            if (pooled.sent < chunk) continue;
            pooled.sent -= chunk;
            bytes += chunk;
            count.acked(now, chunk, open.length);
        }
        if (now % SECOND === 0) counts.push(count.target);
    }
    return { counts, mean: bytes / seconds };
}

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

/** As measured over 100 Mbit/s with 100 ms round trip and 0.1 % loss. */
const loss_limited = (count) => 0.75 * MB * count ** 0.915;
const bottleneck = () => 12 * MB;

for (const seed of [1, 2, 3, 4, 5]) {
    test(`a long line that loses packets gets nearly all connections, soon (seed ${seed})`, () => {
        const { counts, mean: goodput } = upload_over(loss_limited, { setup: 320, seed });
        assert.ok(counts[2] >= 12, `${counts}`);
        assert.ok(mean(counts.slice(3)) > 12, `${counts}`);
        assert.ok(goodput > 0.85 * loss_limited(16), `${goodput}`);
    });

    test(`a line that one connection fills is left to few (seed ${seed})`, () => {
        for (const setup of [30, 320]) {
            const { counts } = upload_over(bottleneck, { setup, seed, seconds: 180, full: true, noise: 0.3 });
            assert.ok(mean(counts.slice(90)) <= 6, `${setup}: ${counts}`);
        }
    });

    test(`a long line that loses packets keeps them (seed ${seed})`, () => {
        const { counts, mean: goodput } = upload_over(loss_limited, { setup: 320, seed, seconds: 300 });
        assert.ok(mean(counts.slice(30)) > 13, `${counts}`);
        assert.ok(goodput > 0.92 * loss_limited(16), `${goodput}`);
    });

    test(`connections that are fast at first do not hide what fewer cost later (seed ${seed})`, () => {
        const fading = (count, now) => Math.min(loss_limited(count) * (now < 20_000 ? 1.3 : 1), 12 * MB);
        const { counts } = upload_over(fading, { setup: 320, seed, seconds: 120 });
        assert.ok(mean(counts.slice(60)) > 12, `${counts}`);
    });

    test(`a loopback, where the processor is the limit, keeps few (seed ${seed})`, () => {
        const busy = (count) => 150 * MB * (count === 1 ? 1 : 1.05) * 0.99 ** count;
        const { counts } = upload_over(busy, { setup: 20, seed, noise: 0.3, seconds: 120 });
        assert.ok(mean(counts.slice(60)) <= 6, `${counts}`);
    });
}

test("a line that needs six gets about six", () => {
    const needs_six = (count) => Math.min(2 * MB * count, 12 * MB);
    const { counts, mean: goodput } = upload_over(needs_six, { setup: 60, seconds: 240 });
    const late = mean(counts.slice(120));
    assert.ok(late >= 4 && late <= 12, `${counts}`);
    assert.ok(goodput > 10 * MB);
});

test("what a few young connections do at first is not what they will do", () => {
    const young = (count, now) => (now < 2_500 ? 12 * MB : Math.min(1.2 * MB * count, 12 * MB));
    const { counts } = upload_over(young, { setup: 60, seconds: 40 });
    assert.ok(mean(counts.slice(15)) >= 8, `${counts}`);
});

test("the limit is never passed, and one means one", () => {
    assert.ok(Math.max(...upload_over(loss_limited, { setup: 320, limit: 3 }).counts) <= 3);
    assert.deepEqual(new Set(upload_over(loss_limited, { setup: 320, limit: 1 }).counts), new Set([1]));
});

test("a limit that is lowered holds at once, one that is raised is tried later", () => {
    const count = new ConcurrencyController();
    count.begin(0, 16, 320);
    assert.equal(count.target, 16);
    count.obey(100, 5);
    assert.equal(count.target, 5);
    count.obey(200, 16);
    assert.equal(count.target, 5);
});

test("connections that cannot be had are not waited for", () => {
    const { counts, mean: goodput } = upload_over(loss_limited, { setup: 320, refused_above: 5 });
    assert.ok(Math.max(...counts.slice(10)) <= 5, `${counts}`);
    assert.ok(goodput > 0.8 * loss_limited(5));
});

test("what was measured while something else set the speed is not judged by", () => {
    const count = new ConcurrencyController();
    count.begin(0, 16, 20);
    const before = count.target;
    for (let now = 0; now < 60 * SECOND; now += 100) {
        count.disturb(now);
        count.acked(now, 1000, before);
    }
    assert.equal(count.target, before);
});

test("there is always to be one, also when the last ack came over one that has been closed since", () => {
    const count = new ConcurrencyController();
    count.begin(0, 16, 30);
    count.acked(7 * SECOND, 65536, 0);
    assert.equal(count.target, 1);
});
