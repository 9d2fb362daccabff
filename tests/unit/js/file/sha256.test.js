import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { sha256 } from "../../../../incoming/js/file/sha256.js";
import { random_numbers } from "../support/random.js";

test("agrees with the standard at every length around a block, and beyond", () => {
    const random = random_numbers(1);
    for (const length of [...Array.from({ length: 130 }, (_, n) => n), 1000, 65_536, 163_840]) {
        const data = Uint8Array.from({ length }, () => random.below(256));
        assert.equal(sha256(data), createHash("sha256").update(data).digest("hex"), `${length} bytes`);
    }
});

test("the standard's own example", () => {
    const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert.equal(sha256(new TextEncoder().encode("abc")), digest);
});
