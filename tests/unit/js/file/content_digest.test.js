import assert from "node:assert/strict";
import test from "node:test";
import { content_digest } from "../../../../incoming/js/file/content_digest.js";

const noise = (length) => Uint8Array.from({ length }, (_, i) => (i * i * 31 + (i >> 5)) & 255);

test("the same bytes have the same digest, wherever they are in memory", () => {
    const bytes = noise(1003);
    const moved = new Uint8Array(2000);
    moved.set(bytes, 400);
    assert.equal(content_digest(bytes), content_digest(moved.subarray(400, 1403)));
    assert.ok(Number.isSafeInteger(content_digest(bytes)));
});

test("every single bit counts, whatever the length", () => {
    for (const length of [1, 2, 3, 4, 5, 7, 8, 11, 12, 64, 67]) {
        const bytes = noise(length);
        const seen = new Set([content_digest(bytes)]);
        for (let bit = 0; bit < length * 8; bit++) {
            bytes[bit >> 3] ^= 1 << (bit & 7);
            seen.add(content_digest(bytes));
            bytes[bit >> 3] ^= 1 << (bit & 7);
        }
        assert.equal(seen.size, 1 + length * 8, `${length} bytes`);
    }
});

test("two changes do not cancel each other out", () => {
    const bytes = new Uint8Array(256);
    const seen = new Set();
    for (let a = 0; a < 256; a++) {
        for (let b = 0; b < a; b++) {
            bytes[a] ^= 128;
            bytes[b] ^= 128;
            seen.add(content_digest(bytes));
            bytes[a] ^= 128;
            bytes[b] ^= 128;
        }
    }
    assert.equal(seen.size, (256 * 255) / 2);
});

test("swapped words, more zeros and nothing at all are different contents", () => {
    const word = (...words) => content_digest(new Uint8Array(Uint32Array.of(...words).buffer));
    const digests = [word(), word(0), word(0, 0), word(0, 0, 0), word(1, 2), word(2, 1), word(1, 2, 3, 4), word(3, 2, 1, 4)];
    assert.equal(new Set(digests).size, digests.length);
});
