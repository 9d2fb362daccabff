// The open connections of one upload, and the pump that gives each its chunks. Decides who sends next; why a
// connection is opened or what its end means is the session's business.

import { Endgame } from "./endgame.js";

/** @typedef {import("../transport/connection.js").Connection} Connection */
/** @typedef {import("../transport/connection.js").Listener} Listener */
/** @typedef {import("../transport/messages.js").Hello} Hello */
/** @typedef {import("../transport/messages.js").Welcome} Welcome */
/** @typedef {import("../transport/messages.js").Outcome} Outcome */
/** @typedef {import("../transport/errors.js").Problem} Problem */

/**
 * @typedef {object} PooledConnection
 * @property {Connection} connection
 * @property {boolean} welcomed
 * @property {boolean} retiring gets no more chunks and is closed when its last one is acknowledged
 * @property {number} opened milliseconds
 * @property {number} heard milliseconds; the last ack, or the first chunk after a rest
 */

/**
 * @typedef {object} Owner
 * @property {(kind: "websocket" | "http", listener: Listener) => Connection} connect
 * @property {(pooled: PooledConnection, welcome: Welcome) => void} welcomed
 * @property {(pooled: PooledConnection, bytes: number) => void} acked
 * @property {(outcome: Outcome) => void} told
 * @property {() => boolean} may_complete asked before the last bytes go out; `pump` again when the answer has changed
 * @property {(pooled: PooledConnection, problem: Problem | null, oldest: [number, number] | undefined) => void} lost
 */

const RELIEF_EVERY = 500;

export class ConnectionPool {
    #env;
    #scheduler;
    #rates;
    #bucket;
    #owner;
    #endgame;
    /** @type {Set<PooledConnection>} */
    #pool = new Set();
    /** @type {unknown} */
    #thaw = null;
    /** @type {unknown} */
    #relief = null;
    /** When a request that may have been too large was last lost; what was opened before went down with it. */
    #suspected = 0;
    #flowing = false;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {Owner} owner
     */
    constructor(env, scheduler, rates, bucket, owner) {
        this.#env = env;
        this.#scheduler = scheduler;
        this.#rates = rates;
        this.#bucket = bucket;
        this.#owner = owner;
        this.#endgame = new Endgame(scheduler, rates);
    }

    /** @returns {PooledConnection[]} those that a server has answered on */
    get welcomed() {
        return [...this.#pool].filter((pooled) => pooled.welcomed);
    }

    /** Those that carry chunks or soon will. */
    get active() {
        return [...this.#pool].filter((pooled) => !pooled.retiring);
    }

    get count() {
        return this.#pool.size;
    }

    /**
     * @param {"websocket" | "http"} kind
     * @param {Hello} hello
     * @returns {PooledConnection}
     */
    open(kind, hello) {
        const listener = {
            welcome: (/** @type {Welcome} */ welcome) => this.#welcome(pooled, welcome),
            ack: (/** @type {[number, number][]} */ chunks) => this.#ack(pooled, chunks),
            state: (/** @type {Outcome} */ outcome) => this.#owner.told(outcome),
            too_large: (/** @type {[number, number]} */ chunk) => this.#too_large(pooled, chunk),
            closed: (/** @type {Problem | null} */ problem) => this.#closed(pooled, problem),
        };
        const connection = this.#owner.connect(kind, listener);
        /** @type {PooledConnection} */
        const pooled = { connection, welcomed: false, retiring: false, opened: this.#env.now(), heard: 0 };
        this.#pool.add(pooled);
        connection.open(hello);
        return pooled;
    }

    /** Chunks may flow: after the first welcome of a session. */
    flow() {
        this.#flowing = true;
        this.pump();
    }

    /** Gives chunks to every connection that has room for one, in turn, until none has. */
    pump() {
        if (!this.#flowing) return;
        let busy = true;
        while (busy) {
            busy = false;
            for (const pooled of this.#pool) busy = this.#feed(pooled) || busy;
        }
        this.#env.stop(this.#relief);
        if (this.#endgame.has_come(this.#env.now())) this.#relief = this.#env.after(RELIEF_EVERY, () => this.#relieve());
    }

    /** Whoever is stuck is left, when there are others who have nothing to do. */
    #relieve() {
        if (this.welcomed.some((pooled) => this.#is_idle(pooled))) {
            const now = this.#env.now();
            const is_stuck = (/** @type {PooledConnection} */ pooled) => !this.#is_idle(pooled) && this.#endgame.is_stuck(pooled, now);
            for (const pooled of this.welcomed.filter(is_stuck)) {
                pooled.connection.close();
                this.#closed(pooled, null);
            }
        }
        this.pump();
    }

    /** @param {PooledConnection} pooled */
    #is_idle(pooled) {
        return !pooled.retiring && !this.#scheduler.oldest(pooled.connection);
    }

    /** All has arrived: one stays to hear what becomes of the upload. What others still carry is there already. */
    keep_one() {
        const carried = (/** @type {PooledConnection} */ { connection }) => this.#scheduler.chunks_of(connection);
        // Who was told last that all is there goes on to what comes next; others may be resting.
        const soonest = (/** @type {PooledConnection} */ a, /** @type {PooledConnection} */ b) => carried(a) - carried(b) || b.heard - a.heard;
        const [kept = this.active[0]] = this.active.filter((pooled) => pooled.welcomed).sort(soonest);
        for (const pooled of this.active) {
            if (pooled === kept) continue;
            pooled.connection.close();
            this.#forget(pooled);
        }
    }

    /** Nothing more is sent; what is on its way is waited for. */
    hold() {
        this.#flowing = false;
        this.#env.stop(this.#thaw);
        this.#env.stop(this.#relief);
    }

    /**
     * These get no more chunks and are closed as soon as their last one is acknowledged.
     * @param {PooledConnection[]} pool
     */
    retire(pool) {
        for (const pooled of pool) {
            pooled.retiring = true;
            this.#close_if_done(pooled);
        }
    }

    check() {
        for (const pooled of this.#pool) pooled.connection.check();
    }

    /** The connection on which a word to the server arrives soonest. */
    get quickest() {
        const ready = this.welcomed;
        return ready.sort((a, b) => a.connection.buffered - b.connection.buffered)[0]?.connection ?? null;
    }

    /** @param {Connection | null} [but] one that closes by itself */
    close(but = null) {
        this.hold();
        for (const pooled of this.#pool) {
            if (pooled.connection !== but) pooled.connection.close();
            this.#forget(pooled);
        }
    }

    /**
     * @param {PooledConnection} pooled
     * @returns {boolean} whether it was given a chunk
     */
    #feed(pooled) {
        if (!pooled.welcomed || pooled.retiring) return false;
        const { connection } = pooled;
        const { bytes_missing, bytes_ahead } = this.#scheduler;
        const now = this.#env.now();
        const repeats = bytes_missing === 0;
        // Those who have nothing to do send once more what others are late with.
        if (repeats && !(this.#endgame.is_late(now) && this.#is_idle(pooled))) return false;
        const size = this.#rates.next_size(connection, bytes_missing || bytes_ahead, connection);
        if (size === 0) return false;
        if (!repeats && size >= bytes_missing && !this.#owner.may_complete()) return false;
        const wait = this.#bucket.wait(now);
        if (wait > 0) {
            this.#env.stop(this.#thaw);
            this.#thaw = this.#env.after(wait, () => this.pump());
            return false;
        }
        const portion = this.#bucket.portion(size);
        const chunk = repeats ? this.#scheduler.repeat(connection, portion) : this.#scheduler.take(connection, portion);
        if (chunk) this.#send(pooled, chunk, now);
        return chunk !== null;
    }

    /**
     * @param {PooledConnection} pooled
     * @param {[number, number]} chunk
     * @param {number} now
     */
    #send(pooled, chunk, now) {
        const bytes = chunk[1] - chunk[0];
        this.#bucket.spend(bytes);
        if (this.#scheduler.chunks_of(pooled.connection) === 1) pooled.heard = now;
        this.#rates.sent(pooled.connection, bytes, now);
        pooled.connection.send(chunk);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {Welcome} welcome
     */
    #welcome(pooled, welcome) {
        pooled.welcomed = true;
        this.#rates.obey(welcome);
        this.#rates.join(pooled.connection);
        this.#owner.welcomed(pooled, welcome);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {[number, number][]} chunks
     */
    #ack(pooled, chunks) {
        const now = (pooled.heard = this.#env.now());
        let bytes = 0;
        for (const chunk of chunks) {
            if (!this.#scheduler.ack(pooled.connection, chunk)) continue;
            this.#rates.acked(pooled.connection, chunk[1] - chunk[0], now);
            bytes += chunk[1] - chunk[0];
        }
        this.#close_if_done(pooled);
        this.pump();
        this.#owner.acked(pooled, bytes);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {[number, number]} chunk
     */
    #too_large(pooled, [start, end]) {
        this.#rates.refuse(end - start);
        this.#rates.undone(pooled.connection, end - start);
        this.#scheduler.put_back(pooled.connection, start);
        this.pump();
    }

    /**
     * @param {PooledConnection} pooled
     * @param {Problem | null} problem
     */
    #closed(pooled, problem) {
        const oldest = this.#scheduler.oldest(pooled.connection);
        if (!problem && oldest && pooled.connection.kind === "http" && pooled.opened >= this.#suspected) {
            this.#suspected = this.#env.now();
            this.#rates.unanswered(oldest[1] - oldest[0]);
        }
        this.#forget(pooled);
        // Those that only wait for news would go on doing so for half a minute.
        const waiting = this.welcomed.filter((other) => other.connection.kind === "http" && this.#is_idle(other));
        if (!problem) for (const { connection } of waiting) connection.check();
        // With nobody left to take their place, those that were to go stay.
        if (!this.active.some(({ welcomed }) => welcomed)) for (const left of this.#pool) left.retiring = false;
        this.#owner.lost(pooled, problem, oldest);
        this.pump();
    }

    /** @param {PooledConnection} pooled */
    #close_if_done(pooled) {
        if (!pooled.retiring || this.#scheduler.oldest(pooled.connection)) return;
        pooled.connection.close();
        this.#forget(pooled);
    }

    /** @param {PooledConnection} pooled */
    #forget(pooled) {
        this.#pool.delete(pooled);
        this.#rates.leave(pooled.connection);
        this.#scheduler.drop(pooled.connection);
    }
}
