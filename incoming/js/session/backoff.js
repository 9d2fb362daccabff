// When to retry: exponential back-off with full jitter, so that the clients of a restarted server do not all return at
// once. Decides delays; owns no timer.

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
        // Never before the requested time, and not all clients at that moment.
        return wanted * 1000 * (1 + 0.25 * this.#random());
    }

    /** Progress was made: the next failure counts as the first. */
    reset() {
        this.#ceiling = FIRST;
    }
}
