// Limits an upload to a rate: a token bucket that may be overdrawn by one chunk and then waits. Pure; milliseconds and
// bytes a second.

const BURST_SECONDS = 0.5;
/** A chunk is at most this much of the rate, so that the flow is even. */
const PORTION_SECONDS = 0.5;
const SMALLEST_PORTION = 16 * 1024;

export class TokenBucket {
    #limits;
    #tokens = 0;
    #filled = 0;

    /**
     * @param {() => number[]} limits bytes a second, 0 for none; the lowest applies, and they may change at any time
     */
    constructor(limits) {
        this.#limits = limits;
    }

    /** Bytes a second, 0 for no limit. */
    get #rate() {
        const limits = this.#limits().filter((limit) => limit > 0);
        return limits.length ? Math.min(...limits) : 0;
    }

    /**
     * @param {number} now
     * @returns {number} milliseconds until something may be sent, 0 if it may
     */
    wait(now) {
        const rate = this.#rate;
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
        const rate = this.#rate;
        return rate ? Math.min(size, Math.max(SMALLEST_PORTION, Math.floor(rate * PORTION_SECONDS))) : size;
    }

    /** @param {number} bytes */
    spend(bytes) {
        if (this.#rate) this.#tokens -= bytes;
    }

    /** Whether this limit, not the line, determines the rate. */
    get binding() {
        return this.#rate > 0 && this.#tokens < 0;
    }
}
