// Bounds the concurrent requests of a page to its app: a hundred chosen files request tickets a few at a time.

export class RequestLimiter {
    #free;
    /** @type {(() => void)[]} */
    #waiting = [];

    /** @param {number} most at once */
    constructor(most) {
        this.#free = most;
    }

    /**
     * @template T
     * @param {() => T | Promise<T>} action run when there is a place
     * @returns {Promise<T>}
     */
    async run(action) {
        if (this.#free > 0) this.#free--;
        else await new Promise((/** @type {(_: void) => void} */ resolve) => this.#waiting.push(resolve));
        try {
            return await action();
        } finally {
            // The place is passed on directly, so that no new request takes it.
            const next = this.#waiting.shift();
            if (next) next();
            else this.#free++;
        }
    }
}
