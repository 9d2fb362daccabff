import assert from "node:assert/strict";
import test from "node:test";
import { Backoff } from "../../../../incoming/js/session/backoff.js";

const delays = (backoff, count, wanted) => Array.from({ length: count }, () => backoff.next(wanted));

test("starts below a second and doubles up to half a minute", () => {
    assert.deepEqual(delays(new Backoff(() => 1), 9), [300, 600, 1200, 2400, 4800, 9600, 19200, 30000, 30000]);
});

test("the jitter is full: any delay up to the ceiling, but never a busy loop", () => {
    assert.deepEqual(delays(new Backoff(() => 0.5), 3), [150, 300, 600]);
    assert.deepEqual(delays(new Backoff(() => 0), 3), [20, 20, 20]);
});

test("progress makes the next failure a first one", () => {
    const backoff = new Backoff(() => 1);
    delays(backoff, 5);
    backoff.reset();
    assert.equal(backoff.next(), 300);
});

test("what the server asks for is never undercut, and not all come back at that moment", () => {
    assert.equal(new Backoff(() => 0).next(10), 10_000);
    assert.equal(new Backoff(() => 1).next(10), 12_500);
});
