import assert from "node:assert/strict";
import test from "node:test";
import { Ranges } from "../../../../incoming/js/pool/ranges.js";
import { random_numbers } from "../support/random.js";

test("ranges that touch or overlap become one, in any order", () => {
    assert.deepEqual([...new Ranges([[5, 9], [0, 3], [3, 5], [20, 30], [25, 40]])], [[0, 9], [20, 40]]);
});

test("empty ranges are nothing", () => {
    const ranges = new Ranges([[4, 4]]);
    ranges.remove(2, 2);
    assert.deepEqual([...ranges], []);
    assert.equal(ranges.first, undefined);
});

test("removing cuts ranges in two", () => {
    const ranges = new Ranges([[0, 10], [20, 30]]);
    ranges.remove(5, 25);
    assert.deepEqual([...ranges], [[0, 5], [25, 30]]);
    ranges.remove(1, 2);
    assert.deepEqual([...ranges], [[0, 1], [2, 5], [25, 30]]);
    assert.equal(ranges.size, 9);
});

test("behaves like a set of bytes", () => {
    const random = random_numbers(7);
    const ranges = new Ranges();
    const bytes = new Set();
    for (let i = 0; i < 3000; i++) {
        const start = random.below(100);
        const end = start + random.below(20);
        const adding = random.below(2);
        if (adding) ranges.add(start, end);
        else ranges.remove(start, end);
        for (let byte = start; byte < end; byte++) adding ? bytes.add(byte) : bytes.delete(byte);
        assert.equal(ranges.size, bytes.size);
        const covered = [...ranges].flatMap(([low, high]) => Array.from({ length: high - low }, (_, n) => low + n));
        assert.deepEqual(covered, [...bytes].sort((a, b) => a - b));
        const from = random.below(100);
        const to = from + random.below(30);
        assert.equal(ranges.measure(from, to), [...bytes].filter((byte) => byte >= from && byte < to).length);
        const neighbours = [...ranges].some(([low], at, all) => at > 0 && low <= all[at - 1][1]);
        assert.ok(!neighbours, "adjacent ranges are joined");
    }
});
