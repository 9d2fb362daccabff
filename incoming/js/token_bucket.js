// Holds an upload to a rate: a token bucket that may be overdrawn by one chunk and then waits. Pure; milliseconds and
// bytes a second.

const BURST_SECONDS = 0.5;
/** A chunk is at most this much of the rate, so that the flow is even. */
const PORTION_SECONDS = 0.5;
const SMALLEST_PORTION = 16 * 1024;

export class TokenBucket {
    #limit;
    #tokens = 0;
    #filled = 0;

    /** @param {() => number} limit bytes a second, 0 for none; asked each time, so that it may change */
    constructor(limit) {
        this.#limit = limit;
    }

    /**
     * @param {number} now
     * @returns {number} milliseconds until something may be sent, 0 if it may
     */
    wait(now) {
        const rate = this.#limit();
        if (!rate) return 0;
        const earned = (Math.max(0, now - this.#filled) * rate) / 1000;
        this.#tokens = Math.min(rate * BURST_SECONDS, this.#tokens + earned);
        this.#filled = now;
        return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens * 1000) / rate);
    }

    /**
     * @param {number} size bytes that would go next
     * @returns {number} what of them may go at once
     */
    portion(size) {
        const rate = this.#limit();
        return rate ? Math.min(size, Math.max(SMALLEST_PORTION, Math.floor(rate * PORTION_SECONDS))) : size;
    }

    /** @param {number} bytes */
    spend(bytes) {
        if (this.#limit()) this.#tokens -= bytes;
    }

    /** Whether it is this limit, not the line, that sets the speed. */
    get binding() {
        return this.#limit() > 0 && this.#tokens < 0;
    }
}
