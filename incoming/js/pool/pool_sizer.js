// How many connections of which kind an upload should have: more or fewer of them, a WebSocket again after a time on
// HTTP. Pure: gets each ack and the time in milliseconds; opens and closes nothing. concurrency_controller.js decides
// which number is best for the line; here it is limited by the server, the page and the rest of the file.

import { ConcurrencyController } from "./concurrency_controller.js";

/** @typedef {import("../transport/messages.js").Welcome} Welcome */

/**
 * @typedef {object} Facts
 * @property {number} bytes just acknowledged
 * @property {Welcome} limits
 * @property {number} share connections that this upload may have, given the page's others
 * @property {boolean} fallen_back HTTP replaces a WebSocket that fails
 * @property {number} count connections that are welcomed
 */

/**
 * @typedef {object} Plan
 * @property {boolean} try_websocket open one in parallel
 * @property {number} keep connections of the preferred kind at most
 * @property {number} open connections of the preferred kind at least
 */

const MIB = 1024 * 1024;
/** For fewer bytes, more connections are not worth their handshakes. */
const WORTH_SHARING = 4 * MIB;
/** Nor in the last seconds of an upload. */
const LAST_SECONDS = 2;
/** Connections that the smallest chunks do not keep busy only slow down a slow line. */
const SECONDS_PER_CHUNK = 4;
/** At first the line seems slower than it is, during TCP's slow start. */
const YOUNG = 3_000;
const SECONDS_PER_CHUNK_WHEN_YOUNG = 16;
const OPEN_AGAIN_AFTER = 2_000;
const OPEN_AGAIN_AT_LAST = 60_000;
const WEBSOCKET_AGAIN_AFTER = 30_000;

export class PoolSizer {
    #scheduler;
    #rates;
    #bucket;
    #count = new ConcurrencyController();
    #counting = false;
    #setup = 0;
    #first_ack = 0;
    #not_before = 0;
    #open_again_after = OPEN_AGAIN_AFTER;
    #websocket_at = 0;
    #websocket_wait = WEBSOCKET_AGAIN_AFTER;

    /**
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     * @param {import("./token_bucket.js").TokenBucket} bucket
     */
    constructor(scheduler, rates, bucket) {
        this.#scheduler = scheduler;
        this.#rates = rates;
        this.#bucket = bucket;
    }

    /**
     * The server has answered on a connection.
     * @param {number} now
     * @param {number | null} opened when, if it is the first after none
     */
    welcomed(now, opened) {
        this.#open_again_after = OPEN_AGAIN_AFTER;
        if (opened === null) return;
        this.#counting = false;
        this.#setup = now - opened;
        this.#websocket_at = now + this.#websocket_wait;
    }

    /**
     * A connection of several was lost, or could not be had: the next one is not opened in the same moment, and ever later
     * until one could be had.
     * @param {number} now
     */
    lost(now) {
        if (now < this.#not_before) return;
        this.#not_before = now + this.#open_again_after;
        this.#open_again_after = Math.min(OPEN_AGAIN_AT_LAST, this.#open_again_after * 2);
    }

    /**
     * @param {number} now
     * @param {Facts} facts
     * @returns {Plan}
     */
    acked(now, { bytes, limits, share, fallen_back, count }) {
        const plan = { try_websocket: fallen_back && now >= this.#websocket_at, keep: Infinity, open: 0 };
        if (plan.try_websocket) {
            this.#websocket_wait *= 2;
            this.#websocket_at = now + this.#websocket_wait;
        }
        if (this.#scheduler.bytes_missing < Math.max(WORTH_SHARING, this.#rates.rate * LAST_SECONDS)) return plan;
        if (this.#bucket.binding) {
            this.#count.disturb(now);
            return plan;
        }
        this.#recount(now, bytes, this.#limit(now, limits, share), count);
        plan.keep = this.#count.target;
        if (now >= this.#not_before) plan.open = this.#count.target;
        return plan;
    }

    /**
     * @param {number} now
     * @param {number} bytes
     * @param {number} limit
     * @param {number} count
     */
    #recount(now, bytes, limit, count) {
        if (this.#counting) {
            this.#count.obey(now, limit);
            this.#count.acked(now, bytes, count);
        } else {
            this.#counting = true;
            this.#count.begin(now, limit, this.#setup);
        }
    }

    /**
     * @param {number} now
     * @param {Welcome} limits
     * @param {number} share
     */
    #limit(now, { connections, chunk_min }, share) {
        if (!this.#counting) this.#first_ack = now;
        const young = now - this.#first_ack < YOUNG;
        const seconds = young ? SECONDS_PER_CHUNK_WHEN_YOUNG : SECONDS_PER_CHUNK;
        const useful = Math.floor((this.#rates.rate * seconds) / chunk_min);
        return Math.max(1, Math.min(connections, share, useful));
    }
}
