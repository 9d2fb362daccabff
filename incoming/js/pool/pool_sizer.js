// Brings the number and kind of an upload's open connections to what is wanted: more or fewer of them, WebSockets
// again after a time on HTTP, only one when nothing is left to send. concurrency_controller.js decides what number is right.

import { ConcurrencyController } from "./concurrency_controller.js";

/** @typedef {import("../transport/messages.js").Welcome} Welcome */
/** @typedef {import("../transport/messages.js").Hello} Hello */
/** @typedef {import("./connection_pool.js").PooledConnection} PooledConnection */

const MIB = 1024 * 1024;
/** For less than this, more connections are not worth their handshakes. */
const WORTH_SHARING = 4 * MIB;
/** Nor in the last seconds of an upload. */
const LAST_SECONDS = 2;
/** Connections that cannot be kept busy with the smallest chunks only make a slow line slower. */
const SECONDS_PER_CHUNK = 4;
/** At first the line seems slower than it is: TCP is still finding out. */
const YOUNG = 3_000;
const SECONDS_PER_CHUNK_WHEN_YOUNG = 16;
/** Browsers open six connections to a server over HTTP/1.1, and the app wants some of them. */
const HTTP_CONNECTIONS = 4;
const OPEN_AGAIN_AFTER = 2_000;
const OPEN_AGAIN_AT_LAST = 60_000;
const WEBSOCKET_AGAIN_AFTER = 30_000;

export class PoolSizer {
    #page;
    #pool;
    #scheduler;
    #rates;
    #bucket;
    #selector;
    #hello;
    #count = new ConcurrencyController();
    #counting = false;
    #setup = 0;
    #first_ack = 0;
    #not_before = 0;
    #open_again_after = OPEN_AGAIN_AFTER;
    #websocket_at = 0;
    #websocket_wait = WEBSOCKET_AGAIN_AFTER;

    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {import("./connection_pool.js").ConnectionPool} pool
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {import("../session/transport_selector.js").TransportSelector} selector
     * @param {() => Hello} hello
     */
    constructor(page, pool, scheduler, rates, bucket, selector, hello) {
        this.#page = page;
        this.#pool = pool;
        this.#scheduler = scheduler;
        this.#rates = rates;
        this.#bucket = bucket;
        this.#selector = selector;
        this.#hello = hello;
    }

    /**
     * @param {PooledConnection} pooled that the server has answered on
     * @param {boolean} first after none
     */
    welcomed(pooled, first) {
        const now = this.#page.env.now();
        this.#open_again_after = OPEN_AGAIN_AFTER;
        if (!first) return;
        this.#counting = false;
        this.#setup = now - pooled.opened;
        this.#websocket_at = now + this.#websocket_wait;
    }

    /**
     * A connection of several was lost, or could not be had: the next one is not opened in the same moment, and ever later
     * until one could be had.
     */
    lost() {
        const now = this.#page.env.now();
        if (now < this.#not_before) return;
        this.#not_before = now + this.#open_again_after;
        this.#open_again_after = Math.min(OPEN_AGAIN_AT_LAST, this.#open_again_after * 2);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {number} bytes just acknowledged
     * @param {Welcome} limits
     */
    acked({ connection: { kind } }, bytes, limits) {
        const now = this.#page.env.now();
        // Only now it is known that a WebSocket, perhaps one that was tried on the side, lets chunks through.
        if (kind === "websocket") this.#pool.retire(this.#pool.active.filter(({ connection }) => connection.kind !== kind));
        if (this.#scheduler.complete) return this.#pool.keep_one();
        if (this.#selector.fallen_back && now >= this.#websocket_at) this.#try_websocket(now);
        if (this.#scheduler.bytes_missing < Math.max(WORTH_SHARING, this.#rates.rate * LAST_SECONDS)) return;
        if (this.#bucket.binding) return this.#count.disturb(now);
        if (!this.#counting) this.#first_ack = now;
        const limit = this.#limit(limits, now - this.#first_ack < YOUNG);
        if (this.#counting) {
            this.#count.obey(now, limit);
            this.#count.acked(now, bytes, this.#pool.welcomed.length);
        } else {
            this.#counting = true;
            this.#count.begin(now, limit, this.#setup);
        }
        this.#approach(now);
    }

    /** @param {number} now */
    #approach(now) {
        const { kind } = this.#selector;
        // Not counting a WebSocket that is tried on the side.
        const active = this.#pool.active.filter(({ connection }) => connection.kind === kind);
        if (active.length > this.#count.target) this.#pool.retire(active.slice(this.#count.target));
        if (now < this.#not_before) return;
        for (let i = active.length; i < this.#count.target; i++) this.#pool.open(kind, this.#hello());
    }

    /**
     * @param {Welcome} limits
     * @param {boolean} young
     */
    #limit({ connections, chunk_min }, young) {
        const kind = this.#selector.kind;
        const share = this.#page.share(kind === "http" ? HTTP_CONNECTIONS : connections);
        const seconds = young ? SECONDS_PER_CHUNK_WHEN_YOUNG : SECONDS_PER_CHUNK;
        const useful = Math.floor((this.#rates.rate * seconds) / chunk_min);
        return Math.max(1, Math.min(connections, share, useful));
    }

    /** @param {number} now */
    #try_websocket(now) {
        this.#websocket_wait *= 2;
        this.#websocket_at = now + this.#websocket_wait;
        this.#pool.open("websocket", this.#hello());
    }
}
