// When to try again: exponential back-off with full jitter, so that the clients of a restarted server do not all come
// back in the same moment. It decides delays; it owns no timer.

const FIRST = 300;
const LIMIT = 30_000;
const SHORTEST = 20;

export class Backoff {
    #random;
    #ceiling = FIRST;

    /** @param {() => number} random from 0 to 1 */
    constructor(random) {
        this.#random = random;
    }

    /**
     * @param {number | null} [wanted] seconds that the server asked us to wait
     * @returns {number} milliseconds until the next attempt
     */
    next(wanted = null) {
        const delay = Math.max(SHORTEST, this.#ceiling * this.#random());
        this.#ceiling = Math.min(LIMIT, this.#ceiling * 2);
        if (wanted === null) return delay;
        // Never before the time that was asked for, and not all at that very moment.
        return wanted * 1000 * (1 + 0.25 * this.#random());
    }

    /** Progress was made: the next failure is a first one again. */
    reset() {
        this.#ceiling = FIRST;
    }
}
