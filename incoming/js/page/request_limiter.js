// Bounds how many of a page's requests to its app run at once: a hundred chosen files ask for tickets a few at a time.

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
     * @param {() => T | Promise<T>} action run when it is its turn
     * @returns {Promise<T>}
     */
    async run(action) {
        if (this.#free > 0) this.#free--;
        else await new Promise((/** @type {(_: void) => void} */ resolve) => this.#waiting.push(resolve));
        try {
            return await action();
        } finally {
            // The place is handed over, so that nobody who comes just now takes it.
            const next = this.#waiting.shift();
            if (next) next();
            else this.#free++;
        }
    }
}
