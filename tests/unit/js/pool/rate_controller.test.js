import assert from "node:assert/strict";
import test from "node:test";
import { Meter, RateController } from "../../../../incoming/js/pool/rate_controller.js";

const KIB = 1024;
const MIB = 1024 * KIB;
const LIMITS = { chunk_min: 64 * KIB, chunk_max: 8 * MIB, window: 64 * MIB };
const A_LOT = 1e12;
/** Milliseconds; of a long line. */
const SETUP = 300;
const ROOMY = { depth: Infinity, buffered: 0 };

/** Sends as much as the pace allows over a line of `rate` bytes a second for some seconds; what was on its way when. */
function run(rates, connections, rate, seconds, capacity = ROOMY) {
    const queue = [];
    const sizes = [];
    let most_ahead = 0;
    let busy_until = 0;
    for (let now = 0; now < seconds * 1000; now += 10) {
        while (queue.length && queue[0].done <= now) {
            const { connection, size, since } = queue.shift();
            rates.acked(connection, size, now, since);
        }
        for (const connection of connections) {
            for (let size; (size = rates.next_size(connection, A_LOT, capacity, now)); ) {
                rates.sent(connection, size, now);
                busy_until = Math.max(busy_until, now) + (size * 1000) / rate;
                queue.push({ connection, size, done: busy_until, since: now });
                sizes.push(size);
            }
        }
        most_ahead = Math.max(most_ahead, queue.reduce((sum, { size }) => sum + size, 0));
    }
    return { sizes, most_ahead, under_way: queue };
}

function paced(count = 1) {
    const rates = new RateController();
    rates.obey(LIMITS);
    const connections = Array.from({ length: count }, () => rates.join(SETUP));
    return { rates, connections };
}

test("a rate counts only the time in which something was on its way", () => {
    const meter = new Meter(2000);
    assert.equal(meter.rate, 0);
    meter.resume(0);
    meter.add(1000, 500);
    assert.equal(meter.rate, 500);
    meter.resume(60_000);
    meter.add(61_000, 500);
    assert.ok(Math.abs(meter.rate - 500) < 1);
});

test("a rate follows the line within seconds", () => {
    const meter = new Meter(2000);
    meter.resume(0);
    for (let now = 100; now <= 10_000; now += 100) meter.add(now, 1000);
    for (let now = 10_100; now <= 16_000; now += 100) meter.add(now, 100);
    assert.ok(meter.rate < 1600 && meter.rate >= 1000, `${meter.rate}`);
});

test("the first chunks are the smallest: the line may be slow", () => {
    const { rates, connections } = paced();
    const { sizes } = run(rates, connections, 1, 0.01);
    assert.deepEqual(sizes, [64 * KIB, 64 * KIB, 64 * KIB, 64 * KIB]);
});

test("on a line of 10 KB/s chunks stay small and little is on its way", () => {
    const { rates, connections } = paced();
    const { sizes, most_ahead } = run(rates, connections, 10_000, 120);
    assert.equal(Math.max(...sizes), 64 * KIB);
    assert.ok(most_ahead <= 256 * KIB);
});

test("chunks become about 0.7 seconds of a line", () => {
    const { rates, connections } = paced();
    const { sizes } = run(rates, connections, 1_000_000, 30);
    const late = sizes.slice(-10);
    for (const size of late) assert.ok(size >= 0.4e6 && size <= 1e6, `${size}`);
});

test("on a fast line chunks reach the largest size and the window fills", () => {
    const { rates, connections } = paced();
    const { sizes, most_ahead } = run(rates, connections, 200e6, 5);
    assert.equal(Math.max(...sizes), 8 * MIB);
    assert.ok(most_ahead > 32 * MIB && most_ahead <= 64 * MIB, `${most_ahead}`);
});

test("the window is the server's at most, over all connections together", () => {
    const { rates, connections } = paced(16);
    rates.obey({ ...LIMITS, window: 4 * MIB });
    const { most_ahead } = run(rates, connections, 200e6, 5);
    assert.ok(most_ahead <= 4 * MIB, `${most_ahead}`);
});

test("what the browser has not sent yet holds back the next chunk", () => {
    const { rates, connections } = paced();
    run(rates, connections, 1_000_000, 10);
    const [connection] = connections;
    rates.sent(connection, 1, 10_000);
    assert.equal(rates.next_size(connection, A_LOT, { depth: Infinity, buffered: 2 * MIB }), 0);
});

test("a smaller chunk that was sent with the hello does not take the place of one of the first chunks", () => {
    const { rates, connections: [connection] } = paced(1);
    rates.obey({ ...LIMITS, chunk_min: 256 * KIB });
    const first = rates.join(SETUP);
    rates.leave(connection);
    rates.sent(first, 64 * KIB, 0);
    const sizes = [];
    for (let size; (size = rates.next_size(first, A_LOT, ROOMY, 0)); sizes.push(size)) rates.sent(first, size, 0);
    assert.deepEqual(sizes, Array(4).fill(256 * KIB), "as many as fill a part of a MiB, without which nothing might be acknowledged");
});

test("a connection for one request at a time gets one chunk at a time", () => {
    const { rates, connections } = paced();
    const [connection] = connections;
    const capacity = { depth: 1, buffered: 0 };
    const size = rates.next_size(connection, A_LOT, capacity);
    rates.sent(connection, size, 0);
    assert.equal(rates.next_size(connection, A_LOT, capacity), 0);
    rates.acked(connection, size, 10, 0);
    assert.ok(rates.next_size(connection, A_LOT, capacity) > 0);
});

test("a request may be larger than a chunk, if its connection is that fast: all of them fill the window", () => {
    const lone = { depth: 1, buffered: 0 };
    for (const count of [1, 4, 16]) {
        const { rates, connections } = paced(count);
        const { sizes, most_ahead } = run(rates, connections, 500e6, 5, lone);
        assert.equal(Math.max(...sizes), Math.max(8, 64 / count) * MIB, `${count} connections`);
        assert.ok(most_ahead <= LIMITS.window, `${most_ahead}`);
    }
    const { rates, connections } = paced(4);
    const { sizes } = run(rates, connections, 10e6, 10, lone);
    assert.ok(Math.max(...sizes) <= 12e6, "about a second of its line");
});

test("a size that was refused is halved and never reached again", () => {
    const { rates, connections } = paced();
    const [connection] = connections;
    run(rates, connections, 200e6, 5);
    assert.equal(rates.refuse(8 * MIB), 4 * MIB);
    rates.leave(connection);
    connections[0] = rates.join(SETUP);
    const { sizes } = run(rates, connections, 200e6, 5);
    assert.equal(Math.max(...sizes), 4 * MIB);
    assert.equal(rates.refuse(8 * MIB), 2 * MIB, "and again, if that was too much too");
});

test("a piece larger than any that arrived, unanswered twice, was too large for something on the way", () => {
    const { rates, connections } = paced();
    const [connection] = connections;
    rates.unanswered(64 * KIB);
    assert.equal(rates.next_size(connection, A_LOT, ROOMY), 64 * KIB, "once it may be the line");
    rates.unanswered(64 * KIB);
    assert.equal(rates.next_size(connection, A_LOT, ROOMY), 32 * KIB);
    const { sizes } = run(rates, connections, 200e6, 5);
    assert.equal(Math.max(...sizes), 32 * KIB);
});

test("a piece no larger than what has arrived says nothing about sizes when it is lost", () => {
    const { rates, connections } = paced();
    const largest = Math.max(...run(rates, connections, 200e6, 5).sizes);
    for (let i = 0; i < 10; i++) rates.unanswered(largest);
    rates.leave(connections[0]);
    connections[0] = rates.join(SETUP);
    assert.ok(Math.max(...run(rates, connections, 200e6, 5).sizes) > largest / 2);
});

test("near the end the rest is shared out in small pieces, but in none that takes only a moment", () => {
    for (const [rate, smallest, largest] of [[2e6, 64 * KIB, 256 * KIB], [200e6, 2 * MIB, 3 * MIB]]) {
        const { rates, connections } = paced(4);
        const { under_way } = run(rates, connections, rate, 5, { depth: 1, buffered: 0 });
        for (const { connection, size, done, since } of under_way) rates.acked(connection, size, done, since);
        const size = rates.next_size(connections[0], 2 * MIB, ROOMY);
        assert.ok(size >= smallest && size <= largest, `${size} at ${rate}`);
    }
});

test("a connection that is lost takes its chunks out of the count", () => {
    const { rates, connections } = paced(2);
    rates.obey({ ...LIMITS, window: 2 * MIB });
    const [a, b] = connections;
    for (let size; (size = rates.next_size(a, A_LOT, ROOMY)); ) rates.sent(a, size, 0);
    rates.leave(a);
    rates.acked(a, 64 * KIB, 10, 0);
    rates.undone(a, 64 * KIB);
    run(rates, [b], 200e6, 3);
    assert.ok(rates.rate > 0);
});

test("on a fast line few small chunks go before the largest do", () => {
    const { rates, connections } = paced();
    const { sizes } = run(rates, connections, 200e6, 2);
    const large = sizes.indexOf(LIMITS.chunk_max);
    assert.ok(large > 0 && large <= 16, `${large} smaller chunks`);
});

test("a further connection begins with what the others lead to expect", () => {
    const { rates, connections } = paced();
    run(rates, connections, 10e6, 5);
    const further = rates.join(SETUP);
    // The one there was has closed, and with it went what it had on its way.
    rates.leave(connections[0]);
    const size = rates.next_size(further, A_LOT, ROOMY);
    assert.ok(size >= 0.8e6 && size <= 1e6, `${size}`);
});

test("a further connection's chunks grow, too, when its line allows", () => {
    const { rates, connections } = paced();
    run(rates, connections, 7e6, 5);
    const further = rates.join(SETUP);
    rates.leave(connections[0]);
    const first = rates.next_size(further, A_LOT, ROOMY);
    assert.ok(first > LIMITS.chunk_min && first < LIMITS.chunk_max, `${first}`);
    const { sizes } = run(rates, [further], 100e6, 2);
    assert.equal(Math.max(...sizes), LIMITS.chunk_max);
});

test("a connection that has nothing on its way gets a chunk although slow ones fill the window", () => {
    const { rates, connections } = paced();
    run(rates, connections, 5e6, 5);
    const further = rates.join(SETUP);
    assert.equal(rates.next_size(connections[0], A_LOT, ROOMY), 0);
    for (let size; (size = rates.next_size(further, A_LOT, ROOMY)); ) rates.sent(further, size, 5000);
    assert.ok(rates.expected(further) > 0);
    assert.equal(rates.next_size(connections[0], A_LOT, ROOMY), 0);
});

test("but not more than the server allows over all", () => {
    const { rates, connections } = paced();
    rates.obey({ ...LIMITS, window: 2 * MIB });
    run(rates, connections, 20e6, 3);
    const further = rates.join(SETUP);
    assert.equal(rates.next_size(further, A_LOT, ROOMY), 0);
});

test("near the end a connection that has not shown anything yet gets nothing", () => {
    const { rates, connections } = paced();
    run(rates, connections, 10e6, 5);
    const further = rates.join(SETUP);
    assert.equal(rates.next_size(further, 5e6, ROOMY), 0);
    assert.ok(rates.next_size(further, 100e6, ROOMY) > 0);
});

test("the round trip before the first ack is not taken for slowness", () => {
    const { rates, connections: [connection] } = paced();
    for (let i = 0; i < 4; i++) rates.sent(connection, 64 * KIB, 0);
    rates.acked(connection, 64 * KIB, 800, 0);
    rates.acked(connection, 64 * KIB, 810, 0);
    assert.equal(Math.round(rates.expected(connection)), 219, "two more, 10 ms and 100 ms of doubt each");
});

/** A fast and a slow connection, both with a chunk in flight since `now`. */
function unequal() {
    const { rates, connections } = paced(2);
    const [fast, slow] = connections;
    let now = 0;
    for (; now < 4000; now += 100) {
        for (const [connection, bytes] of [[fast, 1_000_000], [slow, 20_000]]) {
            rates.sent(connection, bytes, now);
            rates.acked(connection, bytes, now + 100, now);
        }
    }
    for (const connection of connections) rates.sent(connection, 64 * KIB, now);
    return { rates, fast, slow, now };
}

test("near the end a slow connection gets nothing that a fast one delivers sooner behind all that it has", () => {
    const { rates, fast, slow, now } = unequal();
    assert.equal(rates.next_size(slow, 2 * MIB, ROOMY, now), 0);
    assert.ok(rates.next_size(fast, 2 * MIB, ROOMY, now) > 0);
    assert.ok(rates.next_size(slow, A_LOT, ROOMY, now) > 0, "before, it helps");
});

test("but not for long when the fast one stands still", () => {
    const { rates, slow, now } = unequal();
    rates.acked(slow, 64 * KIB, now + 400, now);
    assert.equal(rates.next_size(slow, 2 * MIB, ROOMY, now + 400), 0);
    assert.ok(rates.next_size(slow, 2 * MIB, ROOMY, now + 5000) > 0);
});

/** Bytes in flight over one connection of a line of 10 MB/s after three seconds, set up in so many milliseconds. */
function ahead_after(setup, capacity = ROOMY) {
    const rates = new RateController();
    rates.obey(LIMITS);
    return run(rates, [rates.join(setup)], 10e6, 3, capacity).under_way.reduce((sum, { size }) => sum + size, 0);
}

test("on a short line less is in flight, because it cannot be given to another connection", () => {
    const [short, long] = [ahead_after(75), ahead_after(400)];
    assert.ok(short > 4e6 && short < 8.5e6, `${short}`);
    assert.ok(long > 12e6 && long <= 20e6, `${long}`);
    const lone = { depth: 1, buffered: 0 };
    assert.equal(ahead_after(75, lone), ahead_after(400, lone), "a request carries one chunk, however long the line");
});

test("but as much as keeps it busy when it has become a long one", () => {
    const rates = new RateController();
    rates.obey(LIMITS);
    const connection = rates.join(30);
    let [now, queue] = [0, []];
    const trip = 1500;
    for (; now < 20_000; now += 10) {
        const delay = now < 2000 ? 20 : trip;
        for (; queue.length && queue[0].done <= now; queue.shift()) rates.acked(connection, queue[0].size, now, queue[0].since);
        for (let size; (size = rates.next_size(connection, A_LOT, ROOMY, now)); queue.push({ size, since: now, done: now + delay })) {
            rates.sent(connection, size, now);
        }
    }
    assert.ok(rates.rate * (trip / 1000) > 4 * MIB, `${rates.rate} bytes a second`);
});

test("the first ack shows what the line has at least", () => {
    const { rates, connections: [connection] } = paced();
    for (let i = 0; i < 4; i++) rates.sent(connection, 64 * KIB, 0);
    rates.acked(connection, 64 * KIB, 100, 0);
    assert.equal(Math.round(connection.rate), 640 * KIB);
});

test("acks of a young connection that come at once do not make it seem faster than the line", () => {
    const { rates, connections: [connection] } = paced();
    for (let i = 0; i < 4; i++) rates.sent(connection, 64 * KIB, 0);
    for (let i = 0; i < 4; i++) rates.acked(connection, 64 * KIB, 100, 0);
    assert.ok(connection.rate < 4 * 640 * KIB, `${connection.rate}`);
});
