// A set of byte offsets as sorted, disjoint, non-adjacent [start, end) ranges: the browser's counterpart of
// incoming/core/extents.py. Knows no chunks or connections.

/** @typedef {[number, number]} Range */

export class Ranges {
    /** @type {Range[]} */
    #ranges = [];
    #size = 0;

    /** @param {Iterable<Range>} [ranges] in any order, overlapping or not */
    constructor(ranges = []) {
        for (const [start, end] of ranges) this.add(start, end);
    }

    /** The number of bytes in the set. */
    get size() {
        return this.#size;
    }

    /** @returns {Range | undefined} the lowest range */
    get first() {
        return this.#ranges[0];
    }

    /** @returns {Range | undefined} the highest range */
    get last() {
        return this.#ranges.at(-1);
    }

    /**
     * @param {number} offset
     * @returns {Range | undefined} the lowest range that has bytes from there on
     */
    at_or_after(offset) {
        return this.#ranges[this.#first_ending_at(offset + 1)];
    }

    [Symbol.iterator]() {
        return this.#ranges[Symbol.iterator]();
    }

    /**
     * @param {number} start
     * @param {number} end
     */
    add(start, end) {
        if (end <= start) return;
        const from = this.#first_ending_at(start);
        let to = from;
        let low = start;
        let high = end;
        for (let range; (range = this.#ranges[to]) && range[0] <= end; to++) {
            low = Math.min(low, range[0]);
            high = Math.max(high, range[1]);
        }
        this.#replace(from, to, [[low, high]]);
    }

    /**
     * @param {number} start
     * @param {number} end
     */
    remove(start, end) {
        if (end <= start) return;
        const from = this.#first_ending_at(start + 1);
        let to = from;
        /** @type {Range[]} */
        const rest = [];
        for (let range; (range = this.#ranges[to]) && range[0] < end; to++) {
            if (range[0] < start) rest.push([range[0], start]);
            if (range[1] > end) rest.push([end, range[1]]);
        }
        this.#replace(from, to, rest);
    }

    /**
     * How many bytes of [start, end) are in the set.
     * @param {number} start
     * @param {number} end
     */
    measure(start, end) {
        let sum = 0;
        for (let i = this.#first_ending_at(start + 1), range; (range = this.#ranges[i]) && range[0] < end; i++) {
            sum += Math.min(range[1], end) - Math.max(range[0], start);
        }
        return sum;
    }

    /**
     * @param {number} offset
     * @returns {number} the index of the first range whose end is at or above `offset`
     */
    #first_ending_at(offset) {
        let low = 0;
        let high = this.#ranges.length;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (/** @type {Range} */ (this.#ranges[middle])[1] < offset) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    /**
     * @param {number} from
     * @param {number} to
     * @param {Range[]} ranges
     */
    #replace(from, to, ranges) {
        for (const [start, end] of this.#ranges.splice(from, to - from, ...ranges)) this.#size -= end - start;
        for (const [start, end] of ranges) this.#size += end - start;
    }
}
