// The end of a file, when all of it is in flight and some connections are idle: which of the others are late, and which
// are stuck. Pure: gets the time in milliseconds; sends and closes nothing.

/** Chunks that have not arrived when the line could have carried all are late because of their connection. */
const LATE_AFTER = 200;
const STUCK_AFTER = 5_000;
/** How much longer than expected a connection may take. */
const STUCK_FACTOR = 3;

export class Endgame {
    #scheduler;
    #rates;
    #late_at = Infinity;

    /**
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     */
    constructor(scheduler, rates) {
        this.#scheduler = scheduler;
        this.#rates = rates;
    }

    /**
     * @param {number} now
     * @returns {boolean} whether it has come, and `is_late` and `is_stuck` are to be asked from time to time
     */
    has_come(now) {
        if (this.#scheduler.bytes_missing > 0 || this.#scheduler.complete) {
            this.#late_at = Infinity;
            return false;
        }
        this.#late_at = Math.min(this.#late_at, now + Math.max(LATE_AFTER, this.#rates.remaining));
        return true;
    }

    /** @param {number} now */
    is_late(now) {
        return now >= this.#late_at;
    }

    /**
     * @param {import("./connection_pool.js").PooledConnection} pooled with chunks in flight
     * @param {number} now
     */
    is_stuck({ rate, last_ack }, now) {
        return now - last_ack > STUCK_AFTER + STUCK_FACTOR * (rate ? this.#rates.expected(rate) : 0);
    }
}
