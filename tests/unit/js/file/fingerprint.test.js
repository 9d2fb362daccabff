import assert from "node:assert/strict";
import test from "node:test";
import { fingerprint, sampled } from "../../../../incoming/js/file/fingerprint.js";

const of = (bytes, crypto = null) =>
    fingerprint({ size: bytes.length, read: async (start, end) => bytes.subarray(start, end) }, crypto);

test("the same content has the same fingerprint, here and on any other page", async () => {
    const bytes = new Uint8Array(1_000_000).fill(7);
    assert.equal(await of(bytes), await of(bytes));
    assert.equal(await of(new TextEncoder().encode("abc")), "1-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

test("a page that is not secure comes to the same as one that is", async () => {
    for (const length of [0, 1, 163_840, 1_000_000]) {
        const bytes = Uint8Array.from({ length }, (_, i) => (i * i) >> 3);
        assert.equal(await of(bytes, null), await of(bytes, crypto.subtle));
    }
});

test("a change at either end, or of all of it, shows", async () => {
    const bytes = new Uint8Array(1_000_000);
    const before = await of(bytes);
    for (const offset of [0, 65_535, 999_999]) {
        bytes[offset] = 1;
        assert.notEqual(await of(bytes), before, `at ${offset}`);
        bytes[offset] = 0;
    }
    assert.notEqual(await of(bytes.fill(9)), before);
});

test("small files are read whole", () => assert.deepEqual(sampled(160 * 1024), [[0, 160 * 1024]]));

test("of a file of any size so much is read, inside it, in order", () => {
    for (const size of [160 * 1024 + 1, 1e6, 5 * 2 ** 30, 2 ** 53 - 1]) {
        const ranges = sampled(size);
        assert.equal(ranges.reduce((sum, [start, end]) => sum + (end - start), 0), 160 * 1024);
        assert.equal(ranges.at(-1)[1], size);
        for (let i = 1; i < ranges.length; i++) assert.ok(ranges[i - 1][1] <= ranges[i][0]);
        for (const number of ranges.flat()) assert.ok(Number.isSafeInteger(number));
    }
});

test("an empty file has one too", async () => assert.match(await of(new Uint8Array(0)), /^1-e3b0c442/));

test("a file that cannot be read says why", async () => {
    const file = { size: 10, read: () => Promise.reject(new DOMException("gone", "NotFoundError")) };
    await assert.rejects(fingerprint(file, null), { name: "NotFoundError" });
});
