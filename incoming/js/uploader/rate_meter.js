// The displayed rate and remaining time of one upload: smoother than what the pool measures to size its chunks. Pure:
// gets how many bytes have arrived and when.

/** Milliseconds of the sliding window. */
const WINDOW = 10_000;
/** Samples closer together than this count as one. */
const APART = 200;
/** A shorter interval gives no rate yet. */
const SHORTEST = 500;

export class RateMeter {
    /** @type {[number, number][]} moments and the bytes that had arrived by then, the oldest first */
    #samples = [];

    /**
     * @param {number} now milliseconds
     * @param {number} bytes that have arrived
     * @param {boolean} flowing whether bytes may arrive at all; without, everything is forgotten
     */
    note(now, bytes, flowing) {
        const last = this.#samples.at(-1);
        if (!flowing || (last && bytes < last[1])) this.#samples = [];
        if (!flowing) return;
        if (this.#samples.length > 1 && last && now - last[0] < APART) last[1] = bytes;
        else this.#samples.push([now, bytes]);
        while (this.#samples.length > 2 && now - /** @type {[number, number]} */ (this.#samples[1])[0] > WINDOW) this.#samples.shift();
    }

    /**
     * Falls by itself while nothing arrives.
     * @param {number} now
     * @returns {number} bytes a second, 0 before the first interval
     */
    rate(now) {
        const [first, last] = [this.#samples[0], this.#samples.at(-1)];
        if (!first || !last || now - first[0] < SHORTEST) return 0;
        return ((last[1] - first[1]) * 1000) / (now - first[0]);
    }
}

/**
 * @param {number} bytes still to come
 * @param {number} rate
 * @returns {number | null} seconds, null while nothing arrives
 */
export function time_left(bytes, rate) {
    return rate > 0 ? bytes / rate : null;
}
