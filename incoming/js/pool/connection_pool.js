// The open connections of one upload: opens, retires and closes them, and records what each has acknowledged. The sizer
// decides how many there should be, the pump which one sends next, the session what the end of one means.

import { ChunkPump } from "./chunk_pump.js";
import { load_direct } from "./direct_loader.js";
import { DirectRoute } from "./direct_route.js";
import { PathMeter } from "./path_meter.js";
import { PoolSizer } from "./pool_sizer.js";

/** @typedef {import("../transport/connection.js").Connection} Connection */
/** @typedef {import("../transport/connection.js").Listener} Listener */
/** @typedef {import("../transport/messages.js").Hello} Hello */
/** @typedef {import("../transport/messages.js").Welcome} Welcome */
/** @typedef {import("../transport/errors.js").Problem} Problem */
/** @typedef {"websocket" | "http"} Kind */

/**
 * @typedef {object} PooledConnection
 * @property {Connection} connection
 * @property {import("./rate_controller.js").ConnectionRate | null} rate null until the server has welcomed it
 * @property {boolean} retiring gets no more chunks, but for a part that it has begun, and is closed when its last one is acknowledged
 * @property {Map<number, number>} sent when, in milliseconds, by the starts of chunks
 * @property {number} opened milliseconds
 * @property {number} last_ack milliseconds; the last ack, or the first chunk after an idle time
 * @property {boolean} whole whether its hello carries the file
 * @property {boolean} overtaken chunks were acknowledged to others while it waited for its welcome, which may not list them
 */

/**
 * @typedef {object} Owner
 * @property {(kind: Kind, listener: Listener, further: boolean) => Connection} connect `further`: besides others that work
 * @property {() => Hello} hello greeting of further connections
 * @property {() => {kind: Kind, fallen_back: boolean}} preferred kind of the next connection, and whether it replaces a WebSocket that fails
 * @property {(kind: Kind, limits: Welcome) => number} share of the connections of all the page's uploads
 * @property {(connections: number) => number} share_direct the same of those to an object store
 * @property {(pooled: PooledConnection, welcome: Welcome) => void} welcomed
 * @property {(kind: Kind) => void} acknowledged chunks were acknowledged; before the consequences
 * @property {() => void} acked the same, after it
 * @property {(part: [number, number]) => Promise<Blob | ArrayBuffer | Uint8Array<ArrayBuffer>>} read for an object store
 * @property {() => void} received the server has received bytes that are not safe yet, or has lost them
 * @property {(outcome: import("../transport/messages.js").Outcome) => void} reported
 * @property {() => import("../incoming.js").UploadLimit | null} limit of the rate
 * @property {() => boolean} may_complete asked before the last bytes are sent; `pump` again when the answer has changed
 * @property {(pooled: PooledConnection, problem: Problem | null, oldest: [number, number] | undefined) => void} lost
 */

/** Milliseconds between two reports of what limits the upload, and after which the same is reported again. */
const REPORT_INTERVAL = 2_000;
const REPEAT_INTERVAL = 10_000;

export class ConnectionPool {
    #env;
    #scheduler;
    #rates;
    #owner;
    #pump;
    #sizer;
    #direct;
    /** @type {Set<PooledConnection>} */
    #pool = new Set();
    /** @type {Welcome | null} the server's limits */
    #limits = null;
    /** @type {Connection[]} that notify the server of a pause and then close by themselves */
    #leaving = [];
    /** @type {import("../incoming.js").UploadLimit | null} that was reported last, and when */
    #reported = null;
    #reported_at = 0;
    /** Whether connections are opened and retired. */
    #sizing = true;
    /** When a request that may have been too large was last lost; what was opened before was lost with it. */
    #suspected = 0;

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
        this.#owner = owner;
        this.path = new PathMeter(env);
        this.#sizer = new PoolSizer(scheduler, rates, bucket);
        const gave_up = () => {
            this.pump();
            owner.received();
        };
        const load = async () => {
            const { DirectSender } = await load_direct();
            const { read, may_complete, share_direct: share, received: progressed } = owner;
            return new DirectSender(env, scheduler, bucket, { read, may_complete, share, progressed, gave_up, unreadable: () => this.#unreadable() });
        };
        this.#direct = new DirectRoute(env, scheduler, load, gave_up);
        this.#pump = new ChunkPump(env, this.#pool, scheduler, rates, bucket, {
            may_complete: () => owner.may_complete(),
            stuck: (pooled) => this.#give_up(pooled),
        });
    }

    /** @returns {PooledConnection[]} those on which a server has answered */
    get welcomed() {
        return [...this.#pool].filter(({ rate }) => rate);
    }

    /** Those that carry chunks or will soon. */
    get active() {
        return [...this.#pool].filter((pooled) => !pooled.retiring);
    }

    /** @returns {Kind | "direct" | ""} by which bytes are sent */
    get transport() {
        return this.#direct.active ? "direct" : (this.welcomed[0]?.connection.kind ?? "");
    }

    /** Bytes of parts for an object store that have left the browser. */
    get loaded() {
        return this.#direct.sender?.loaded ?? 0;
    }

    get count() {
        return this.#pool.size;
    }

    /** @param {PooledConnection} pooled */
    has(pooled) {
        return this.#pool.has(pooled);
    }

    /**
     * @param {Kind} kind
     * @param {Hello} hello
     * @param {boolean} [whole] whether all of the file goes with it
     * @returns {PooledConnection}
     */
    open(kind, hello, whole = false) {
        this.#end_leaving();
        const listener = /** @type {Listener} */ ({
            welcome: (welcome) => this.#welcome(pooled, welcome),
            ack: (chunks) => this.#ack(pooled, chunks),
            received: (extents, ranges) => this.#received(pooled, extents, ranges),
            signed: (urls, expires_in) => this.#direct.sender?.signed(urls, expires_in),
            unseen: (parts) => this.#direct.sender?.unseen(parts),
            state: (outcome) => this.#owner.reported(outcome),
            path: (figures) => this.path.reported(figures),
            too_large: (chunk) => this.#too_large(pooled, chunk),
            closed: (problem) => this.#closed(pooled, problem),
        });
        const connection = this.#owner.connect(kind, listener, this.welcomed.length > 0);
        /** @type {PooledConnection} */
        const pooled = { connection, rate: null, retiring: false, sent: new Map(), opened: this.#env.now(), last_ack: 0, whole, overtaken: false };
        this.#pool.add(pooled);
        connection.open(hello, whole);
        if (hello.ahead) this.#pump.send_ahead(pooled);
        return pooled;
    }

    /** Chunks may be sent: after the first welcome of a session. */
    flow() {
        this.#pump.flow(this.#limits);
        this.#direct.flow();
    }

    pump() {
        this.#pump.pump();
        this.#direct.sender?.pump();
    }

    /**
     * Whole parts go straight to an object store, with URLs by this connection.
     * @param {PooledConnection} pooled
     * @param {number} part_size bytes
     */
    go_direct({ connection }, part_size) {
        this.#direct.begin(connection, part_size);
    }

    /** The file cannot be read, which the session finds out when it looks at what was lost. */
    #unreadable() {
        const [control] = this.welcomed;
        if (control) this.#give_up(control);
    }

    /** Sends nothing more; chunks in flight are awaited. */
    hold() {
        this.#pump.hold();
        this.#direct.stop();
    }

    /** Opens and retires nothing more, because the upload is being cancelled. */
    freeze() {
        this.hold();
        this.#sizing = false;
    }

    /** All has arrived: one connection stays for the outcome of the upload; the chunks of others have arrived already. */
    keep_one() {
        const carried = (/** @type {PooledConnection} */ { connection }) => this.#scheduler.chunks_of(connection);
        // The connection with the latest ack reports the next state first; others may be between two polls.
        const soonest = (/** @type {PooledConnection} */ a, /** @type {PooledConnection} */ b) => carried(a) - carried(b) || b.last_ack - a.last_ack;
        const [kept = this.active[0]] = this.active.filter(({ rate }) => rate).sort(soonest);
        for (const pooled of this.active) {
            if (pooled === kept) continue;
            pooled.connection.close();
            this.#forget(pooled);
        }
    }

    check() {
        for (const pooled of this.#pool) pooled.connection.check();
    }

    /** @returns {Connection | null} on which all of the file is under way to the server, which has not answered yet */
    get carrier() {
        return [...this.#pool].find(({ whole, rate }) => whole && !rate)?.connection ?? null;
    }

    /** The connection that delivers a message soonest. */
    get quickest() {
        const ready = this.welcomed;
        return ready.sort((a, b) => a.connection.buffered - b.connection.buffered)[0]?.connection ?? null;
    }

    /** Notifies the server of a pause: by the quickest connection, or by all that may still be welcomed. Closes all. */
    pause() {
        const { quickest } = this;
        this.#leaving = quickest ? [quickest] : [...this.#pool].map(({ connection }) => connection);
        for (const connection of this.#leaving) connection.pause();
        this.#close(this.#leaving);
    }

    close() {
        this.#end_leaving();
        this.#close([]);
    }

    /** @param {Connection[]} but that close by themselves */
    #close(but) {
        this.hold();
        this.#sizing = true;
        for (const pooled of this.#pool) {
            if (!but.includes(pooled.connection)) pooled.connection.close();
            this.#forget(pooled);
        }
    }

    /** The upload is resumed: a pause that is not yet sent must not follow. */
    #end_leaving() {
        for (const connection of this.#leaving.splice(0)) connection.close();
    }

    /**
     * @param {PooledConnection} pooled
     * @param {Welcome} welcome
     */
    #welcome(pooled, welcome) {
        this.#sizer.welcomed(this.#env.now(), this.welcomed.length === 0 ? pooled.opened : null);
        this.#limits = welcome;
        this.#rates.obey(welcome);
        pooled.rate = this.#rates.join(this.#env.now() - pooled.opened);
        this.#scheduler.receive(pooled.connection, [], welcome.received ?? []);
        this.#owner.welcomed(pooled, welcome);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {[number, number][]} extents
     * @param {[number, number][]} ranges
     */
    #received({ connection }, extents, ranges) {
        this.#scheduler.receive(connection, extents, ranges);
        this.pump();
        this.#owner.received();
    }

    /**
     * @param {PooledConnection} pooled
     * @param {[number, number][]} chunks
     */
    #ack(pooled, chunks) {
        const { connection, rate } = pooled;
        const now = (pooled.last_ack = this.#env.now());
        let bytes = 0;
        this.path.sample(this.welcomed.some((one) => one.connection.reads));
        for (const chunk of chunks) {
            if (this.#direct.sender?.seen(chunk) || !rate || !this.#scheduler.ack(connection, chunk)) continue;
            const since = pooled.sent.get(chunk[0]) ?? now;
            this.path.acked(now - since);
            pooled.sent.delete(chunk[0]);
            this.#rates.acked(rate, chunk[1] - chunk[0], now, since);
            bytes += chunk[1] - chunk[0];
        }
        for (const other of this.#pool) if (!other.rate) other.overtaken = true;
        this.#close_if_done(pooled);
        this.pump();
        this.#report(now);
        this.#owner.acknowledged(connection.kind);
        if (this.#limits && this.#sizing) this.#resize(connection.kind, bytes, this.#limits);
        this.#owner.acked();
    }

    /**
     * Operators see what limits the upload, which only the page knows of the line and the browser.
     * @param {number} now
     */
    #report(now) {
        const limit = this.#owner.limit();
        this.#reported_at ||= now; // short uploads report nothing
        if (!limit || now - this.#reported_at < (limit === this.#reported ? REPEAT_INTERVAL : REPORT_INTERVAL)) return;
        [this.#reported, this.#reported_at] = [limit, now];
        for (const { connection } of this.welcomed) connection.report(limit);
    }

    /**
     * @param {Kind} carried by which chunks were acknowledged
     * @param {number} bytes of them
     * @param {Welcome} limits
     */
    #resize(carried, bytes, limits) {
        // Only now it is known that a WebSocket, possibly a parallel one, delivers chunks.
        if (carried === "websocket") this.#retire(this.active.filter(({ connection }) => connection.kind !== carried));
        if (this.#scheduler.complete) return this.keep_one();
        if (this.#direct.active) return;
        const { kind, fallen_back } = this.#owner.preferred();
        const facts = { bytes, limits, share: this.#owner.share(kind, limits), fallen_back, count: this.welcomed.length };
        const plan = this.#sizer.acked(this.#env.now(), facts);
        if (plan.try_websocket) this.open("websocket", this.#owner.hello());
        // A parallel WebSocket does not count.
        const active = this.active.filter(({ connection }) => connection.kind === kind);
        this.#retire(active.slice(plan.keep));
        for (let i = active.length; i < plan.open; i++) this.open(kind, this.#owner.hello());
    }

    /**
     * These get no more chunks, but for parts that they have begun, and are closed when their last one is acknowledged.
     * @param {PooledConnection[]} pool
     */
    #retire(pool) {
        for (const pooled of pool) {
            pooled.retiring = true;
            this.#close_if_done(pooled);
        }
    }

    /**
     * @param {PooledConnection} pooled
     * @param {[number, number]} chunk
     */
    #too_large(pooled, [start, end]) {
        this.#rates.refuse(end - start);
        if (pooled.rate) this.#rates.undone(pooled.rate, end - start);
        this.#scheduler.put_back(pooled.connection, start);
        this.pump();
    }

    /** @param {PooledConnection} pooled */
    #give_up(pooled) {
        pooled.connection.close();
        this.#closed(pooled, null);
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
        // Idle connections would otherwise notice only at the end of their poll.
        const waiting = this.welcomed.filter((other) => other.connection.kind === "http" && this.#pump.is_idle(other));
        if (!problem) for (const { connection } of waiting) connection.check();
        // Without a replacement, retiring connections stay in use.
        if (!this.active.some(({ rate }) => rate)) for (const left of this.#pool) left.retiring = false;
        if (this.welcomed.length > 0) this.#sizer.lost(this.#env.now());
        this.#owner.lost(pooled, problem, oldest);
        this.pump();
    }

    /** @param {PooledConnection} pooled */
    #close_if_done(pooled) {
        const { connection, retiring } = pooled;
        if (!retiring || this.#scheduler.oldest(connection) || this.#scheduler.owes(connection)) return;
        connection.close();
        this.#forget(pooled);
    }

    /** @param {PooledConnection} pooled */
    #forget(pooled) {
        this.#pool.delete(pooled);
        this.#direct.lost(pooled.connection);
        if (pooled.rate) this.#rates.leave(pooled.rate);
        this.#scheduler.drop(pooled.connection);
    }
}
