// Parts that go straight to an object store, of which only the server knows whether they have arrived.
import assert from "node:assert/strict";
import test from "node:test";
import { ChunkScheduler } from "../../../../incoming/js/pool/chunk_scheduler.js";
import { DirectSender } from "../../../../incoming/js/pool/direct_sender.js";
import { TokenBucket } from "../../../../incoming/js/pool/token_bucket.js";
import { FakeEnvironment, until } from "../support/environment.js";

const PART = 1000;
/** Seconds that the server signs for. */
const SIGNED_FOR = 900;
/** At first; more are tried later. */
const AT_ONCE = 4;
const AHEAD = 2;
/** Milliseconds after which parts that were stored are reported, at first and at last. */
const REPORT_AFTER = 300;
const REPORT_AT_LAST_AFTER = 4800;

class Bench {
    env = new FakeEnvironment();
    rate = 0;
    asked = [];
    reported = [];
    connections = 6;
    may_complete = true;
    content = new Uint8Array(PART);
    gave_up = 0;
    unreadable = 0;
    #signed = 0;

    constructor(size = 20 * PART - 300) {
        this.size = size;
        this.scheduler = new ChunkScheduler(size);
        this.scheduler.align(PART);
        this.sender = new DirectSender(this.env, this.scheduler, new TokenBucket(() => [this.rate]), {
            read: async ([start, end]) => this.content?.slice(0, end - start) ?? Promise.reject(new Error("gone")),
            may_complete: () => this.may_complete,
            share: (connections) => Math.min(connections, this.connections),
            progressed: () => {},
            unreadable: () => this.unreadable++,
            gave_up: () => this.gave_up++,
        });
        this.control = { about_parts: (type, parts) => (type === "sign" ? this.asked : this.reported).push(parts) };
    }

    begin() {
        this.sender.begin(this.control, PART);
        this.sender.flow();
        return this;
    }

    /** The server signs all that was asked for. */
    sign() {
        const urls = this.asked.splice(0).flat().map((part) => [part, `https://store.example/${part}?signature=${++this.#signed}`]);
        this.sender.signed(urls, SIGNED_FOR);
        return urls;
    }

    /** Requests that nobody has answered or aborted. */
    get open() {
        return this.env.requests.filter((one) => one.body && !one.aborted && !one.answered);
    }

    get parts() {
        return this.open.map(part_of);
    }

    async sending(count) {
        await until(() => this.open.length === count);
        return this.open;
    }

    /** Begins, and waits for the first requests. */
    async begun() {
        this.begin().sign();
        await this.sending(AT_ONCE);
        return this;
    }

    answer(request, status) {
        request.answered = true;
        request.answer(status);
    }

    answer_all(status) {
        for (const request of this.open) this.answer(request, status);
    }

    range(part) {
        return [(part - 1) * PART, Math.min(this.size, part * PART)];
    }

    /** The server looks: it sees those parts and no others, or all. */
    look(expected = []) {
        this.env.pass(0);
        for (let passed = 0; this.reported.length === 0 && passed < REPORT_AT_LAST_AFTER; passed += 100) this.env.pass(100);
        const parts = this.reported.splice(0).flat();
        const seen = expected === "all" ? parts : expected;
        for (const part of parts) if (seen.includes(part)) this.sender.seen(this.range(part));
        const unseen = parts.filter((part) => !seen.includes(part));
        if (unseen.length > 0) this.sender.unseen(unseen);
        return parts;
    }
}

const part_of = (request) => Number(new URL(request.url).pathname.slice(1));

test("URLs are asked for parts that go at once and for a few more, and each part has its exact length", async () => {
    const bench = new Bench(3 * PART + 1).begin();
    assert.deepEqual(bench.asked, [[1, 2, 3, 4]]);
    bench.sign();
    const requests = await bench.sending(AT_ONCE);
    assert.deepEqual(requests.map(({ method, body }) => [method, body.length]), [["PUT", PART], ["PUT", PART], ["PUT", PART], ["PUT", 1]]);

    const long = new Bench().begin();
    assert.deepEqual(long.asked, [Array.from({ length: AT_ONCE + AHEAD }, (_, number) => number + 1)]);
    long.sender.pump();
    assert.equal(long.asked.length, 1, "asked once");
});

test("a page with many uploads has few connections for each", async () => {
    const bench = new Bench();
    bench.connections = 1;
    bench.begin().sign();
    await bench.sending(1);
    assert.deepEqual(bench.parts, [1]);
});

test("a part counts when the server has seen it, not when the store has answered", async () => {
    const bench = await new Bench().begun();
    bench.answer(bench.open[0], 200);
    assert.deepEqual([bench.scheduler.bytes_acked, bench.scheduler.bytes_ahead > 0], [0, true]);
    assert.deepEqual(bench.reported, []);
    assert.deepEqual(bench.look([1]), [1]);
    assert.deepEqual([bench.scheduler.bytes_acked, bench.scheduler.chunks_acked], [PART, 1]);
    assert.equal(bench.sender.seen([0, PART]), false, "it is no part of these any more");
});

test("parts that are stored shortly after each other are reported together", async () => {
    const bench = await new Bench().begun();
    bench.answer_all(200);
    assert.deepEqual(bench.look([1, 2, 3, 4]), [1, 2, 3, 4]);
    assert.equal(bench.scheduler.bytes_acked, 4 * PART);
});

test("on a quick line URLs are asked for in growing numbers", async () => {
    const bench = await new Bench(100 * PART).begun();
    const counts = [];
    for (let count = 0; count < 40; count++) {
        bench.answer(bench.open[0], 200);
        counts.push(...bench.asked.map((parts) => parts.length));
        bench.sign();
        await bench.sending(AT_ONCE);
    }
    assert.deepEqual(counts, [3, 7, 15, 31]);
});

test("while parts go on, they are reported after longer and longer times", async () => {
    const bench = await new Bench(100 * PART).begun();
    const times = [];
    for (let round = 0; round < 7; round++) {
        const since = bench.env.time;
        bench.answer(bench.open[0], 200);
        while (bench.reported.length === 0) bench.env.pass(100);
        times.push(bench.env.time - since);
        bench.look("all");
        bench.sign();
        await bench.sending(AT_ONCE);
    }
    assert.deepEqual(times, [REPORT_AFTER, 600, 1200, 2400, 4800, 4800, REPORT_AT_LAST_AFTER]);
});

test("the last parts are reported at once", async () => {
    const bench = await new Bench(AT_ONCE * PART).begun();
    for (const request of bench.open.slice(1)) bench.answer(request, 200);
    bench.env.pass(0);
    assert.deepEqual(bench.reported, []);
    bench.answer_all(200);
    bench.env.pass(0);
    assert.deepEqual(bench.reported, [[2, 3, 4, 1]]);
});

test("a URL is not used when its time is nearly over: after a long silence all are signed anew", async () => {
    const bench = await new Bench().begun();
    bench.env.time += SIGNED_FOR * 1000;
    bench.answer(bench.open[0], 200);
    assert.deepEqual(bench.parts, [2, 3, 4], "the URLs of the parts 5 and 6 are old");
    assert.deepEqual(bench.asked, [[5, 6, 7]]);
    const urls = bench.sign().map(([, url]) => url);
    await bench.sending(AT_ONCE);
    assert.ok(urls.includes(bench.open.at(-1).url));
});

test("a part that the store refuses is signed anew, with those that wait, and sent after a pause", async () => {
    const bench = await new Bench().begun();
    const [refused] = bench.open;
    bench.answer(refused, 403);
    assert.deepEqual(bench.look(), [1]);
    assert.deepEqual(bench.asked, [[5, 6, 1]]);
    bench.sign();
    bench.sender.pump();
    assert.deepEqual(bench.parts, [2, 3, 4], "not yet");
    bench.env.pass(1000);
    await bench.sending(AT_ONCE);
    bench.answer_all(200);
    await until(() => bench.parts.includes(1));
    assert.notEqual(bench.open.find((one) => part_of(one) === 1).url, refused.url);
    assert.equal(bench.gave_up, 0);
});

test("a part of which only the answer was lost is not sent again", async () => {
    const bench = await new Bench().begun();
    bench.answer(bench.open[0], 0);
    bench.look([1]);
    assert.equal(bench.scheduler.bytes_acked, PART);
    bench.env.pass(20_000);
    assert.ok(!bench.asked.flat().includes(1));
});

test("where nothing ever gets through, the rest goes through the server", async () => {
    const bench = await new Bench().begun();
    bench.answer_all(0);
    assert.equal(bench.gave_up, 0, "our own server has not answered yet");
    bench.look();
    assert.deepEqual([bench.gave_up, bench.sender.active, bench.scheduler.reserved], [1, false, false]);
    assert.deepEqual(bench.scheduler.take({}, 5 * PART), [0, PART], "parts are free again");
    bench.begin();
    assert.equal(bench.sender.active, false, "another welcome does not change that");
});

test("a store that was away for a moment fails all requests at once, which counts as one failure", async () => {
    const bench = await new Bench().begun();
    bench.answer(bench.open[0], 200);
    bench.look([1]);
    await bench.sending(AT_ONCE);
    for (let round = 0; round < 2; round++) {
        bench.answer_all(0);
        bench.look();
        assert.equal(bench.gave_up, 0);
        bench.sign();
        bench.env.pass(10_000);
        await bench.sending(AT_ONCE);
    }
    bench.answer_all(0);
    bench.look();
    assert.equal(bench.gave_up, 1, "three times in a row");
});

test("a success in between starts the count anew", async () => {
    const bench = await new Bench(100 * PART).begun();
    for (let round = 0; round < 6; round++) {
        bench.answer(bench.open[0], 0);
        bench.look();
        bench.sign();
        bench.env.pass(10_000);
        await bench.sending(AT_ONCE);
        bench.answer(bench.open[0], 200);
        bench.look("all");
        bench.sign();
        await bench.sending(AT_ONCE);
    }
    assert.equal(bench.gave_up, 0);
});

test("a store that is busy gets longer and longer pauses, and is not given up", async () => {
    const bench = await new Bench().begun();
    const pauses = [];
    for (let round = 0; round < 8; round++) {
        const failed_at = bench.env.time;
        bench.answer_all(503);
        bench.look();
        bench.sign();
        while (bench.env.requests.length === bench.env.requests.filter((one) => one.answered).length) {
            bench.env.pass(100);
            await until(() => true);
        }
        pauses.push(Math.round((bench.env.time - failed_at) / 1000));
        await bench.sending(AT_ONCE);
    }
    assert.deepEqual(pauses, [1, 2, 4, 8, 10, 10, 10, 10]);
    assert.equal(bench.gave_up, 0);
});

test("a part that the store has taken and does not list is looked for three times, then sent again", async () => {
    const bench = await new Bench().begun();
    bench.answer(bench.open[0], 200);
    for (let look = 0; look < 3; look++) {
        assert.deepEqual(bench.look(), [1]);
        bench.env.pass(1000);
    }
    assert.deepEqual(bench.reported, []);
    assert.equal(bench.scheduler.bytes_acked, 0);
    bench.answer_all(200);
    bench.look([2, 3, 4]);
    assert.ok([...bench.asked.flat(), ...bench.parts].includes(1));
});

test("without the connection over which the server signs, everything ends and nothing is lost", async () => {
    const bench = await new Bench().begun();
    bench.answer(bench.open[0], 200);
    const begun = bench.open;
    bench.sender.lost({});
    assert.equal(bench.sender.active, true, "another connection");
    bench.sender.lost(bench.control);
    assert.ok(begun.every(({ aborted }) => aborted));
    assert.deepEqual([bench.sender.active, bench.sender.loaded, bench.scheduler.bytes_ahead], [false, 0, 0]);
    assert.equal(bench.scheduler.bytes_missing, bench.size);
    bench.env.pass(60_000);
    assert.deepEqual(bench.reported, [], "over a connection that is gone");
    bench.begin();
    bench.sender.pump();
    assert.deepEqual(bench.open, [], "URLs of the earlier connection are not used");
});

test("a request of which nothing leaves the browser is tried again", async () => {
    const bench = await new Bench().begun();
    const [silent, slow] = bench.open;
    for (let loaded = 1; loaded <= 4; loaded++) {
        bench.env.pass(10_000);
        for (const one of bench.open) if (one !== silent) one.upload.onprogress({ loaded });
    }
    assert.deepEqual([silent.aborted, slow.aborted], [true, false]);
    assert.deepEqual(bench.reported, [[1]]);
});

test("what has left the browser is at most what there is", async () => {
    const bench = await new Bench().begun();
    bench.open[0].upload.onprogress({ loaded: 400 });
    bench.open[1].upload.onprogress({ loaded: PART + 500 });
    assert.equal(bench.sender.loaded, 400 + PART);
    bench.answer(bench.open[0], 0);
    assert.equal(bench.sender.loaded, PART, "a failed request has sent nothing");
});

test("the last part waits until the file has been looked at", async () => {
    const bench = new Bench(PART);
    bench.may_complete = false;
    bench.begin();
    assert.deepEqual(bench.asked, []);
    bench.may_complete = true;
    bench.sender.pump();
    assert.deepEqual(bench.asked, [[1]]);
});

test("a rate lets one part after the other go", async () => {
    const bench = new Bench();
    bench.rate = PART;
    bench.begin().sign();
    await bench.sending(1);
    bench.env.pass(500);
    assert.deepEqual(bench.parts, [1]);
    bench.env.pass(600);
    await bench.sending(2);
    assert.deepEqual(bench.parts, [1, 2]);
});

test("a file that cannot be read is nothing to send again", async () => {
    const bench = new Bench();
    bench.content = null;
    bench.begin().sign();
    await until(() => bench.unreadable > 0);
    assert.equal(bench.env.requests.length, 0);
});

test("without parts there is nothing to begin", () => {
    const bench = new Bench();
    bench.sender.begin(bench.control, 1);
    assert.equal(bench.sender.active, false);
    bench.sender.unseen([1]);
    assert.equal(bench.sender.seen([0, PART]), false);
});
