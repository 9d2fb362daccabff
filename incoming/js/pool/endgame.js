// The end of a file, when all of it is in flight and some connections are idle: which of the others are late, and which
// are stuck. Pure: gets the time in milliseconds; sends and closes nothing.

/** @typedef {import("./connection_pool.js").PooledConnection} PooledConnection */
/** @typedef {import("../transport/connection.js").Connection} Connection */

/** Chunks that have not arrived when the line could have carried all are late because of their connection. */
const LATE_AFTER = 200;
const SMALLEST_REPETITION = 64 * 1024;
const STUCK_AFTER = 5_000;
/** How much longer than expected a connection may take. */
const STUCK_FACTOR = 3;

export class Endgame {
    #scheduler;
    #rates;
    #late_at = Infinity;
    /** Bytes that were taken over since all of the file is in flight. */
    #taken_over = 0;

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
            this.#taken_over = 0;
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
     * What another connection would deliver last, if this one delivers it much sooner: all of its last chunk, or half of several,
     * as it goes on sending the others. Asked when this one has nothing left to send: what is queued cannot be withdrawn. Where
     * the line limits all of them, that only takes its time: no more than it carries while a connection is set up.
     * @param {PooledConnection} pooled
     * @param {Iterable<PooledConnection>} pool
     * @param {number} now
     * @returns {{connection: Connection, bytes: number} | null} the last bytes of a connection
     */
    overtaken({ connection, rate }, pool, now) {
        if (!rate || connection.buffered > 0) return null;
        let [latest, size, seconds] = [/** @type {PooledConnection | null} */ (null), 0, 0];
        for (const other of pool) {
            if (other.connection === connection || !other.rate) continue;
            const bytes = this.#scheduler.bytes_alone(other.connection);
            const needed = bytes && this.#rates.seconds(other.rate, bytes, now);
            if (needed > seconds) [latest, size, seconds] = [other, bytes, needed];
        }
        const bytes = Math.min(size, Math.max(Math.ceil(size / 2), SMALLEST_REPETITION));
        if (this.#taken_over + bytes > this.#rates.bytes_in_setup) return null;
        return latest && this.#rates.overtakes(rate, bytes, seconds, now) ? { connection: latest.connection, bytes } : null;
    }

    /** @param {number} bytes that are sent once more */
    took_over(bytes) {
        this.#taken_over += bytes;
    }

    /**
     * @param {PooledConnection} pooled with chunks in flight
     * @param {number} now
     */
    is_stuck({ rate, last_ack }, now) {
        return now - last_ack > STUCK_AFTER + STUCK_FACTOR * (rate ? this.#rates.expected(rate) : 0);
    }
}
