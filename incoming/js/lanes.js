// The open connections of one upload, and the pump that gives each its chunks. Decides who sends next; why a
// connection is opened or what its end means is the session's business.

import { Endgame } from "./endgame.js";

/** @typedef {import("./websocket_transport.js").Connection} Connection */
/** @typedef {import("./websocket_transport.js").Listener} Listener */
/** @typedef {import("./messages.js").Hello} Hello */
/** @typedef {import("./messages.js").Welcome} Welcome */
/** @typedef {import("./messages.js").Outcome} Outcome */
/** @typedef {import("./errors.js").Problem} Problem */

/**
 * @typedef {object} Lane
 * @property {Connection} connection
 * @property {boolean} welcomed
 * @property {boolean} retiring gets no more chunks and is closed when its last one is acknowledged
 * @property {number} opened milliseconds
 * @property {number} heard milliseconds; the last ack, or the first chunk after a rest
 */

/**
 * @typedef {object} Owner
 * @property {(kind: "websocket" | "http", listener: Listener) => Connection} connect
 * @property {(lane: Lane, welcome: Welcome) => void} welcomed
 * @property {(lane: Lane, bytes: number) => void} acked
 * @property {(outcome: Outcome) => void} told
 * @property {() => boolean} may_complete asked before the last bytes go out; `pump` again when the answer has changed
 * @property {(lane: Lane, problem: Problem | null, oldest: [number, number] | undefined) => void} lost
 */

const RELIEF_EVERY = 500;

export class Lanes {
    #env;
    #scheduler;
    #pace;
    #bucket;
    #owner;
    #endgame;
    /** @type {Set<Lane>} */
    #lanes = new Set();
    /** @type {unknown} */
    #thaw = null;
    /** @type {unknown} */
    #relief = null;
    /** When a request that may have been too large was last lost; what was opened before went down with it. */
    #suspected = 0;
    #flowing = false;

    /**
     * @param {import("./environment.js").Environment} env
     * @param {import("./scheduler.js").Scheduler} scheduler
     * @param {import("./pace.js").Pace} pace
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {Owner} owner
     */
    constructor(env, scheduler, pace, bucket, owner) {
        this.#env = env;
        this.#scheduler = scheduler;
        this.#pace = pace;
        this.#bucket = bucket;
        this.#owner = owner;
        this.#endgame = new Endgame(scheduler, pace);
    }

    /** @returns {Lane[]} those that a server has answered on */
    get welcomed() {
        return [...this.#lanes].filter((lane) => lane.welcomed);
    }

    /** Those that carry chunks or soon will. */
    get active() {
        return [...this.#lanes].filter((lane) => !lane.retiring);
    }

    get count() {
        return this.#lanes.size;
    }

    /**
     * @param {"websocket" | "http"} kind
     * @param {Hello} hello
     * @returns {Lane}
     */
    open(kind, hello) {
        const listener = {
            welcome: (/** @type {Welcome} */ welcome) => this.#welcome(lane, welcome),
            ack: (/** @type {[number, number][]} */ chunks) => this.#ack(lane, chunks),
            state: (/** @type {Outcome} */ outcome) => this.#owner.told(outcome),
            too_large: (/** @type {[number, number]} */ chunk) => this.#too_large(lane, chunk),
            closed: (/** @type {Problem | null} */ problem) => this.#closed(lane, problem),
        };
        const connection = this.#owner.connect(kind, listener);
        /** @type {Lane} */
        const lane = { connection, welcomed: false, retiring: false, opened: this.#env.now(), heard: 0 };
        this.#lanes.add(lane);
        connection.open(hello);
        return lane;
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
            for (const lane of this.#lanes) busy = this.#feed(lane) || busy;
        }
        this.#env.stop(this.#relief);
        if (this.#endgame.has_come(this.#env.now())) this.#relief = this.#env.after(RELIEF_EVERY, () => this.#relieve());
    }

    /** Whoever is stuck is left, when there are others who have nothing to do. */
    #relieve() {
        if (this.welcomed.some((lane) => this.#is_idle(lane))) {
            const now = this.#env.now();
            const is_stuck = (/** @type {Lane} */ lane) => !this.#is_idle(lane) && this.#endgame.is_stuck(lane, now);
            for (const lane of this.welcomed.filter(is_stuck)) {
                lane.connection.close();
                this.#closed(lane, null);
            }
        }
        this.pump();
    }

    /** @param {Lane} lane */
    #is_idle(lane) {
        return !lane.retiring && !this.#scheduler.oldest(lane.connection);
    }

    /** All has arrived: one stays to hear what becomes of the upload. What others still carry is there already. */
    keep_one() {
        const carried = (/** @type {Lane} */ { connection }) => this.#scheduler.chunks_of(connection);
        // Who was told last that all is there goes on to what comes next; others may be resting.
        const soonest = (/** @type {Lane} */ a, /** @type {Lane} */ b) => carried(a) - carried(b) || b.heard - a.heard;
        const [kept = this.active[0]] = this.active.filter((lane) => lane.welcomed).sort(soonest);
        for (const lane of this.active) {
            if (lane === kept) continue;
            lane.connection.close();
            this.#forget(lane);
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
     * @param {Lane[]} lanes
     */
    retire(lanes) {
        for (const lane of lanes) {
            lane.retiring = true;
            this.#close_if_done(lane);
        }
    }

    check() {
        for (const lane of this.#lanes) lane.connection.check();
    }

    /** The connection on which a word to the server arrives soonest. */
    get quickest() {
        const ready = this.welcomed;
        return ready.sort((a, b) => a.connection.buffered - b.connection.buffered)[0]?.connection ?? null;
    }

    /** @param {Connection | null} [but] one that closes by itself */
    close(but = null) {
        this.hold();
        for (const lane of this.#lanes) {
            if (lane.connection !== but) lane.connection.close();
            this.#forget(lane);
        }
    }

    /**
     * @param {Lane} lane
     * @returns {boolean} whether it was given a chunk
     */
    #feed(lane) {
        if (!lane.welcomed || lane.retiring) return false;
        const { connection } = lane;
        const { bytes_missing, bytes_ahead } = this.#scheduler;
        const now = this.#env.now();
        const repeats = bytes_missing === 0;
        // Those who have nothing to do send once more what others are late with.
        if (repeats && !(this.#endgame.is_late(now) && this.#is_idle(lane))) return false;
        const size = this.#pace.next_size(connection, bytes_missing || bytes_ahead, connection);
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
        if (chunk) this.#send(lane, chunk, now);
        return chunk !== null;
    }

    /**
     * @param {Lane} lane
     * @param {[number, number]} chunk
     * @param {number} now
     */
    #send(lane, chunk, now) {
        const bytes = chunk[1] - chunk[0];
        this.#bucket.spend(bytes);
        if (this.#scheduler.chunks_of(lane.connection) === 1) lane.heard = now;
        this.#pace.sent(lane.connection, bytes, now);
        lane.connection.send(chunk);
    }

    /**
     * @param {Lane} lane
     * @param {Welcome} welcome
     */
    #welcome(lane, welcome) {
        lane.welcomed = true;
        this.#pace.obey(welcome);
        this.#pace.join(lane.connection);
        this.#owner.welcomed(lane, welcome);
    }

    /**
     * @param {Lane} lane
     * @param {[number, number][]} chunks
     */
    #ack(lane, chunks) {
        const now = (lane.heard = this.#env.now());
        let bytes = 0;
        for (const chunk of chunks) {
            if (!this.#scheduler.ack(lane.connection, chunk)) continue;
            this.#pace.acked(lane.connection, chunk[1] - chunk[0], now);
            bytes += chunk[1] - chunk[0];
        }
        this.#close_if_done(lane);
        this.pump();
        this.#owner.acked(lane, bytes);
    }

    /**
     * @param {Lane} lane
     * @param {[number, number]} chunk
     */
    #too_large(lane, [start, end]) {
        this.#pace.refuse(end - start);
        this.#pace.undone(lane.connection, end - start);
        this.#scheduler.put_back(lane.connection, start);
        this.pump();
    }

    /**
     * @param {Lane} lane
     * @param {Problem | null} problem
     */
    #closed(lane, problem) {
        const oldest = this.#scheduler.oldest(lane.connection);
        if (!problem && oldest && lane.connection.kind === "http" && lane.opened >= this.#suspected) {
            this.#suspected = this.#env.now();
            this.#pace.unanswered(oldest[1] - oldest[0]);
        }
        this.#forget(lane);
        // Those that only wait for news would go on doing so for half a minute.
        const waiting = this.welcomed.filter((other) => other.connection.kind === "http" && this.#is_idle(other));
        if (!problem) for (const { connection } of waiting) connection.check();
        // With nobody left to take their place, those that were to go stay.
        if (!this.active.some(({ welcomed }) => welcomed)) for (const left of this.#lanes) left.retiring = false;
        this.#owner.lost(lane, problem, oldest);
        this.pump();
    }

    /** @param {Lane} lane */
    #close_if_done(lane) {
        if (!lane.retiring || this.#scheduler.oldest(lane.connection)) return;
        lane.connection.close();
        this.#forget(lane);
    }

    /** @param {Lane} lane */
    #forget(lane) {
        this.#lanes.delete(lane);
        this.#pace.leave(lane.connection);
        this.#scheduler.drop(lane.connection);
    }
}
