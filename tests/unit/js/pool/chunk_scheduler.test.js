import assert from "node:assert/strict";
import test from "node:test";
import { ChunkScheduler } from "../../../../incoming/js/pool/chunk_scheduler.js";
import { random_numbers } from "../support/random.js";

const [a, b] = [{ name: "a" }, { name: "b" }];

test("chunks go out from the lowest missing byte on, whoever asks", () => {
    const scheduler = new ChunkScheduler(100);
    assert.deepEqual(scheduler.take(a, 30), [0, 30]);
    assert.deepEqual(scheduler.take(b, 30), [30, 60]);
    assert.deepEqual(scheduler.take(a, 100), [60, 100]);
    assert.equal(scheduler.take(b, 1), null);
    assert.equal(scheduler.bytes_ahead, 100);
    assert.equal(scheduler.chunks_ahead, 3);
});

test("a chunk never bridges what has arrived", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.confirm([[10, 20], [40, 90]]);
    assert.deepEqual(scheduler.take(a, 50), [0, 10]);
    assert.deepEqual(scheduler.take(a, 50), [20, 40]);
    assert.deepEqual(scheduler.take(a, 50), [90, 100]);
});

test("a lost connection costs its own chunks only", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 30);
    scheduler.take(b, 30);
    scheduler.drop(a);
    assert.equal(scheduler.bytes_ahead, 30);
    assert.deepEqual(scheduler.take(b, 50), [0, 30]);
});

test("what one connection is late with goes over another as well, the last of it first, and counts once", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 20);
    scheduler.take(a, 50);
    scheduler.take(b, 30);
    scheduler.ack(b, [70, 100]);
    assert.deepEqual(scheduler.repeat(b, 30), [40, 70]);
    assert.deepEqual([scheduler.bytes_ahead, scheduler.bytes_missing, scheduler.chunks_ahead], [70, 0, 3]);
    assert.ok(scheduler.ack(b, [40, 70]));
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_ahead], [60, 40]);
    assert.deepEqual(scheduler.repeat(b, 30), [10, 40]);
    assert.ok(scheduler.ack(a, [0, 20]));
    assert.ok(scheduler.ack(a, [20, 70]));
    assert.ok(scheduler.complete);
    assert.ok(scheduler.ack(b, [10, 40]));
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_ahead, scheduler.chunks_acked], [100, 0, 5]);
});

test("nothing goes over three connections", () => {
    const scheduler = new ChunkScheduler(100);
    const c = { name: "c" };
    scheduler.take(a, 60);
    scheduler.take(b, 40);
    assert.deepEqual(scheduler.repeat(c, 50), [10, 60]);
    assert.deepEqual(scheduler.repeat({}, 50), [60, 100]);
    assert.deepEqual(scheduler.repeat({}, 50), [0, 10]);
    assert.equal(scheduler.repeat({}, 50), null);
});

test("when one of two that carry the same bytes is lost, the other still has them on their way", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 100);
    scheduler.repeat(b, 40);
    scheduler.drop(a);
    assert.deepEqual([scheduler.bytes_ahead, scheduler.bytes_missing], [40, 60]);
    scheduler.drop(b);
    assert.deepEqual(scheduler.take(b, 100), [0, 100]);
});

test("only the connection that sent a chunk can acknowledge it, exactly and once", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 30);
    assert.ok(!scheduler.ack(b, [0, 30]));
    assert.ok(!scheduler.ack(a, [0, 29]));
    assert.ok(scheduler.ack(a, [0, 30]));
    assert.ok(!scheduler.ack(a, [0, 30]));
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_ahead, scheduler.chunks_acked], [30, 0, 1]);
});

test("without chunks on their way the server's word is final, even if it has less than before", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.confirm([[0, 80]]);
    scheduler.confirm([[0, 20]]);
    assert.equal(scheduler.bytes_acked, 20);
    assert.deepEqual(scheduler.take(a, 100), [20, 100]);
});

test("with chunks on their way the server's word only adds: it may be older than an ack", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 30);
    scheduler.take(a, 30);
    scheduler.ack(a, [0, 30]);
    scheduler.confirm([]);
    assert.equal(scheduler.bytes_acked, 30);
    scheduler.confirm([[0, 50]]);
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_ahead], [50, 10], "no byte counts twice");
});

test("a list that may be older than an ack only adds, without chunks on their way too", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 30);
    scheduler.ack(a, [0, 30]);
    scheduler.confirm([[0, 10], [90, 100]], true);
    assert.equal(scheduler.bytes_acked, 40);
    scheduler.confirm([[0, 10]]);
    assert.equal(scheduler.bytes_acked, 10);
});

test("a server that claims bytes beyond the end does not push progress beyond the total", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.confirm([[0, 1000]]);
    assert.equal(scheduler.bytes_acked, 100);
    assert.ok(scheduler.complete);
});

test("a chunk that is put back is sent again", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 40);
    scheduler.put_back(a, 0);
    assert.deepEqual([scheduler.bytes_ahead, scheduler.bytes_missing], [0, 100]);
    assert.deepEqual(scheduler.take(a, 20), [0, 20]);
    assert.deepEqual(scheduler.oldest(a), [0, 20]);
});

test("counts start anew with the first connection after none; bytes do not", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 40);
    scheduler.ack(a, [0, 40]);
    scheduler.take(a, 40);
    scheduler.restart();
    assert.deepEqual([scheduler.chunks_acked, scheduler.chunks_ahead, scheduler.bytes_acked], [0, 0, 40]);
});

test("a chunk that has arrived counts so, though its ack is still to come", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.take(a, 60);
    scheduler.take(a, 60);
    scheduler.ack(a, [0, 60]);
    scheduler.confirm([[0, 100]]);
    assert.deepEqual([scheduler.bytes_ahead, scheduler.chunks_ahead, scheduler.chunks_acked], [0, 0, 2]);
    assert.ok(scheduler.ack(a, [60, 100]));
    assert.equal(scheduler.chunks_acked, 2, "and not twice");
    scheduler.take(b, 10);
    scheduler.drop(a);
    assert.equal(scheduler.chunks_acked, 2, "nor does it get lost with its connection");
});

test("an empty file is complete and has nothing to send", () => {
    const scheduler = new ChunkScheduler(0);
    assert.ok(scheduler.complete);
    assert.equal(scheduler.take(a, 10), null);
});

for (let seed = 1; seed <= 40; seed++) {
    test(`whatever acks and failures come, every byte is sent and none is lost (seed ${seed})`, () => {
        const random = random_numbers(seed);
        const total = random.below(5000);
        const scheduler = new ChunkScheduler(total);
        const server = new Set();
        let acked = 0;
        const lines = [a, b, { name: "c" }].map((connection) => ({ connection, flying: [] }));
        for (let step = 0; !scheduler.complete; step++) {
            assert.ok(step < 20_000, "it ends");
            play(scheduler, lines[random.below(3)], random, server);
            const { bytes_acked, bytes_ahead, bytes_missing } = scheduler;
            assert.equal(bytes_acked + bytes_ahead + bytes_missing, total, "each byte is in one place");
            assert.ok(bytes_acked >= 0 && bytes_ahead >= 0 && bytes_missing >= 0);
            const flying = lines.reduce((sum, line) => sum + line.flying.length, 0);
            assert.ok(scheduler.chunks_ahead <= flying);
            assert.equal(scheduler.chunks_ahead > 0, bytes_ahead > 0);
            assert.ok(scheduler.chunks_acked >= acked);
            acked = scheduler.chunks_acked;
            assert.ok(bytes_acked <= server.size, "nothing counts as arrived that is not there");
        }
        assert.equal(server.size, total);
    });
}

/** One of the things that can happen to one connection. */
function play(scheduler, line, random, server) {
    const arrive = ([start, end]) => {
        for (let byte = start; byte < end; byte++) server.add(byte);
    };
    const what = random.below(10);
    if (what < 5) {
        const chunk = scheduler.take(line.connection, 1 + random.below(200));
        if (chunk) line.flying.push(chunk);
    } else if (what < 8 && line.flying.length) {
        const [chunk] = line.flying.splice(random.below(line.flying.length), 1);
        arrive(chunk);
        scheduler.ack(line.connection, chunk);
    } else if (what === 8) {
        // Cut: some of what was on its way has arrived, and nobody knows.
        for (const chunk of line.flying.splice(0)) if (random.below(2)) arrive(chunk);
        scheduler.drop(line.connection);
    } else {
        scheduler.confirm(ranges_of(server));
    }
}

function ranges_of(bytes) {
    return [...bytes].map((byte) => [byte, byte + 1]);
}

// --- parts -------------------------------------------------------------------------------------------------------------------

const PART = 100;

function aligned(total) {
    const scheduler = new ChunkScheduler(total);
    scheduler.align(PART);
    return scheduler;
}

test("no chunk crosses the border of a part, and each connection has parts of its own", () => {
    const scheduler = aligned(250);
    assert.deepEqual([scheduler.take(a, 70), scheduler.take(b, 500), scheduler.take(a, 70)], [[0, 70], [100, 200], [70, 100]]);
    assert.deepEqual([scheduler.take(a, 30), scheduler.take(b, 70)], [[200, 230], null], "the last part is a's");
    assert.deepEqual(scheduler.take(a, 70), [230, 250]);
});

test("a part that was begun before a reconnect is finished first, and by one connection", () => {
    const scheduler = aligned(1000);
    scheduler.confirm([[0, 100], [250, 300], [310, 350]]);
    const taken = [scheduler.take(a, 30), scheduler.take(b, 30), scheduler.take(a, 30), scheduler.take(b, 30), scheduler.take(a, 90)];
    assert.deepEqual(taken, [[200, 230], [300, 310], [230, 250], [350, 380], [100, 190]]);
});

test("a lost connection leaves its parts to the others", () => {
    const scheduler = aligned(200);
    scheduler.take(a, 30);
    scheduler.take(b, 100);
    assert.equal(scheduler.take(b, 30), null);
    scheduler.drop(a);
    assert.deepEqual(scheduler.take(b, 100), [0, 100]);
});

test("a connection owes the rest of a part that it has begun, until all of it is sent", () => {
    const scheduler = aligned(200);
    assert.equal(scheduler.owes(a), false);
    scheduler.take(a, 30);
    assert.deepEqual([scheduler.owes(a), scheduler.owes(b)], [true, false]);
    scheduler.ack(a, [0, 30]);
    assert.equal(scheduler.owes(a), true);
    scheduler.take(a, 70);
    assert.equal(scheduler.owes(a), false);
    scheduler.align(1);
    scheduler.take(b, 30);
    assert.equal(scheduler.owes(b), false, "there are no parts");
});

test("a chunk that was refused goes out again by the same connection", () => {
    const scheduler = aligned(300);
    scheduler.take(a, 100);
    scheduler.take(a, 50);
    scheduler.put_back(a, 0);
    assert.deepEqual([scheduler.take(b, 100), scheduler.take(a, 100)], [[200, 300], [0, 100]]);
});

test("without an alignment chunks begin and end anywhere", () => {
    const scheduler = aligned(300);
    scheduler.align(1);
    assert.deepEqual(scheduler.take(a, 150), [0, 150]);
});

for (let seed = 1; seed <= 40; seed++) {
    test(`with 16 connections, losses and reconnects each part comes by one connection, and whole (seed ${seed})`, () => {
        const random = random_numbers(seed);
        const total = random.below(8000);
        const scheduler = aligned(total);
        const server = new Set();
        /** Who is sending a part since when nobody was. */
        const senders = new Map();
        const lines = Array.from({ length: 16 }, (_, n) => ({ connection: { n }, flying: [] }));
        for (let step = 0; !scheduler.complete; step++) {
            assert.ok(step < 30_000, "it ends");
            const line = lines[random.below(16)];
            const before = line.flying.length;
            play_part(scheduler, line, random, server, lines, senders);
            if (line.flying.length <= before) continue;
            const [start, end] = line.flying.at(-1);
            const part = Math.floor(start / PART);
            assert.equal(Math.floor((end - 1) / PART), part, `${start}-${end} lies in one part`);
            const sender = senders.get(part) ?? line;
            assert.equal(sender, line, `part ${part} is another's`);
            senders.set(part, line);
        }
        assert.equal(server.size, total);
    });
}

/** One of the things that can happen; where a connection is lost its parts have no sender any more. */
function play_part(scheduler, line, random, server, lines, senders) {
    const free = (lost) => {
        for (const [part, sender] of senders) if (sender === lost) senders.delete(part);
    };
    if (random.below(400) === 0) {
        for (const other of lines) {
            free(other);
            other.flying.length = 0;
        }
        scheduler.restart();
        scheduler.confirm(ranges_of(server));
        return;
    }
    const losable = random.below(30) === 0;
    if (losable) {
        for (const [start, end] of line.flying.splice(0)) if (random.below(2)) for (let byte = start; byte < end; byte++) server.add(byte);
        scheduler.drop(line.connection);
        free(line);
        return;
    }
    if (random.below(2)) {
        const chunk = scheduler.take(line.connection, 1 + random.below(60));
        if (chunk) line.flying.push(chunk);
    } else if (line.flying.length) {
        const [chunk] = line.flying.splice(random.below(line.flying.length), 1);
        for (let byte = chunk[0]; byte < chunk[1]; byte++) server.add(byte);
        scheduler.ack(line.connection, chunk);
    }
}

test("what the server has received is not sent again, and is missing when it is lost", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.confirm([[0, 10]]);
    scheduler.receive(a, [], [[10, 40]]);
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_received, scheduler.bytes_missing], [10, 40, 60]);
    assert.deepEqual(scheduler.take(a, 100), [40, 100]);
    scheduler.receive(a, [[10, 20]], [[20, 70]]);
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_received, scheduler.bytes_missing], [20, 70, 0]);
    scheduler.receive(a, [[10, 20]], []);
    assert.deepEqual([scheduler.bytes_received, scheduler.bytes_missing], [20, 20]);
    assert.deepEqual(scheduler.take(b, 100), [20, 40]);
});

test("what was received is lost with the connection, unless it was acknowledged", () => {
    const scheduler = new ChunkScheduler(100);
    scheduler.receive(a, [], [[0, 60]]);
    scheduler.receive(b, [[0, 20]], [[60, 80]]);
    assert.equal(scheduler.bytes_received, 80);
    scheduler.drop(a);
    assert.deepEqual([scheduler.bytes_acked, scheduler.bytes_received], [20, 40]);
    assert.deepEqual(scheduler.take(b, 100), [20, 60]);
});
