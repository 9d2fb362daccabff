// Keeps one upload connected: opens connections, sends hello, reconnects after every loss, falls back to HTTP and stops
// on permanent errors. The uploader decides what the user may do and sees.

import { ASK_AGAIN } from "../transport/errors.js";
import { ConnectionPool } from "../pool/connection_pool.js";
import { has_arrived, is_receiving, reason_follows } from "../transport/messages.js";
import { RateController } from "../pool/rate_controller.js";
import { Connector } from "./connector.js";
import { Reconnection } from "./reconnection.js";
import { ChunkScheduler } from "../pool/chunk_scheduler.js";
import { StallDetector } from "./stall_detector.js";
import { TokenBucket } from "../pool/token_bucket.js";

/** @typedef {import("../pool/connection_pool.js").PooledConnection} PooledConnection */
/** @typedef {import("../transport/messages.js").Welcome} Welcome */
/** @typedef {import("../transport/messages.js").Outcome} Outcome */
/** @typedef {import("../transport/errors.js").Problem} Problem */

/**
 * @typedef {object} Owner
 * @property {() => void} changed something observable, at the end of each event
 * @property {() => void} attempting the next attempt to connect begins
 * @property {(outcome: Outcome) => void} reported the state that the server reports
 * @property {(problem: Problem) => void} failed permanently; the session has stopped
 * @property {boolean} at_once whether a small file may be sent with its hello
 * @property {() => void} unanswered a cancel may not have reached the server; the session has stopped
 */

const CANCEL_ANSWERED_WITHIN = 8_000;

export class Session {
    #page;
    #servers;
    #file;
    #check;
    #owner;
    #pool;
    #connector;
    #selector;
    #reconnection;
    #stall_detector;
    /** @type {number | undefined} */
    #epoch;
    /** @type {Welcome | null} */
    #limits = null;
    #bucket;
    #max_rate;
    #running = false;
    /** Whether the next attempt sends all of the file with its hello. */
    #whole = false;
    #connected = false;
    #connected_at = 0;
    /** @type {"websocket" | "http"} of the last welcome */
    #kind = "websocket";
    #cancelling = false;
    /** @type {unknown} */
    #cancel_timer = null;
    /** Whether the server, by its last message, still expects bytes. */
    #receiving = true;
    /** @type {Problem | null} why it is waiting, if the server sent a reason */
    problem = null;

    /**
     * @param {import("./servers.js").Servers} servers
     * @param {{readonly ticket: string}} upload whose ticket is known from its start on
     * @param {File} file
     * @param {import("../file/file_check.js").FileCheck} check
     * @param {() => number} max_rate bytes a second, 0 for none
     * @param {Owner} owner
     */
    constructor(servers, upload, file, check, max_rate, owner) {
        const { page } = servers;
        this.#page = page;
        this.#servers = servers;
        this.#file = file;
        this.#check = check;
        this.#owner = owner;
        this.#reconnection = new Reconnection(page.env, check, {
            connect: () => {
                const anew = this.scheduler.bytes_acked === 0 && max_rate() === 0;
                this.#connector.connect(this.#pool, this.#hello(), this.#whole, anew);
                this.#whole = false;
                owner.attempting();
            },
            failed: (problem) => this.#fail(problem),
        });
        this.#connector = new Connector(servers);
        this.#selector = this.#connector.selector;
        this.scheduler = new ChunkScheduler(file.size);
        const rates = new RateController();
        this.#max_rate = max_rate;
        this.#bucket = new TokenBucket(() => [max_rate(), this.#limits?.max_rate ?? 0]);
        this.#pool = new ConnectionPool(page.env, this.scheduler, rates, this.#bucket, {
            connect: (kind, listener, further) => servers.connect(kind, upload.ticket, check, listener, further),
            welcomed: (pooled, welcome) => this.#welcomed(pooled, welcome),
            hello: () => this.#hello(),
            preferred: () => this.#selector,
            limit: () => this.limit,
            share_direct: (connections) => page.share(connections),
            share: (kind, { connections }) => page.share(kind === "http" ? servers.http_connections : connections),
            acknowledged: (kind) => this.#selector.acknowledged(kind),
            acked: () => this.#acked(),
            received: () => this.#received(),
            read: (part) => this.#read(part),
            reported: (outcome) => this.#reported(outcome),
            may_complete: () => this.#seal(),
            lost: (pooled, problem, oldest) => this.#connection_lost(pooled, problem, oldest),
        });
        this.#stall_detector = new StallDetector(page, upload, {
            waiting: () => this.scheduler.chunks_ahead > 0,
            swallowed: () => {
                this.#selector.swallowed();
                this.#reconnect();
            },
            doubtful: () => this.#reconnect(),
        });
    }

    get connected() {
        return this.#connected;
    }

    /** @returns {"websocket" | "http" | "direct" | ""} also while the file is looked at because the last connection was lost */
    get transport() {
        return this.#connected ? this.#pool.transport || this.#kind : "";
    }

    /** Bytes that have arrived, were received, or have left the browser for an object store. */
    get bytes_received() {
        return Math.min(this.#file.size, this.scheduler.bytes_received + this.#pool.loaded);
    }

    /** What limits the rate, while chunks are in flight. */
    get limit() {
        if (!this.#bucket.binding) return this.#pool.path.limit;
        const [own, theirs] = [this.#max_rate(), this.#limits?.max_rate ?? 0];
        return own && !(theirs && theirs < own) ? "browser" : "server";
    }

    /** How the bytes fare on their way. */
    get path() {
        const { welcomed, path } = this.#pool;
        const bytes_buffered = welcomed.reduce((sum, { connection }) => sum + connection.buffered, 0);
        const protocol = welcomed[0]?.connection.protocol ?? "";
        return { protocol, connections: welcomed.length, bytes_buffered, ...path.figures };
    }

    /** Whether a file is under way with its hello: it may arrive although nothing was answered yet. */
    get carries() {
        return this.#pool.carrier !== null;
    }

    /** Whether chunks are in flight. */
    get flowing() {
        return this.#connected && !this.scheduler.complete;
    }

    /** Start a session; it takes the ticket over from any other session. */
    start() {
        this.#running = true;
        this.#epoch = undefined;
        this.problem = null;
        this.#connector.begin();
        this.#whole = this.#owner.at_once && this.#max_rate() === 0 && this.#servers.transports.whole_works && this.#check.expect_whole();
        this.#reconnection.reset();
        this.#reconnection.now();
    }

    /** Close all connections without notifying the server, and cancel all timers. */
    stop() {
        this.#halt();
        this.#pool.close();
    }

    pause() {
        this.#halt();
        this.#pool.pause();
    }

    /** @param {string} reason */
    cancel(reason) {
        this.#cancelling = true;
        this.#stall_detector.stop();
        this.#pool.freeze();
        (this.#pool.quickest ?? this.#pool.carrier)?.cancel(reason);
        this.#cancel_timer = this.#page.env.after(CANCEL_ANSWERED_WITHIN, () => this.#unanswered());
    }

    /**
     * A moment in which connecting may succeed. Does not end a wait that the server has requested.
     * @param {boolean} doubtful whether connections may have been lost unnoticed
     */
    revive(doubtful) {
        if (!this.#running || this.#cancelling) return;
        if (this.#connected && this.#pool.count > 0) {
            if (doubtful) this.#pool.check();
        } else if ((doubtful || this.#pool.count === 0) && this.problem?.retry_after == null) {
            // An attempt that was started without a network fails late, and a wait would follow.
            this.#reconnect();
        }
    }

    /** Time of the next attempt to connect, null during one or if none is needed. */
    get due() {
        return this.#reconnection.due;
    }

    /** The user wants the next attempt now. */
    retry_now() {
        if (this.due !== null) this.#reconnection.now();
    }

    #halt() {
        this.#running = false;
        this.#connected = false;
        this.#end_cancel();
        this.#connector.stop();
        this.#reconnection.stop();
        this.#stall_detector.stop();
    }

    #end_cancel() {
        this.#cancelling = false;
        this.#page.env.stop(this.#cancel_timer);
    }

    /** @returns {import("../transport/messages.js").Hello} */
    #hello() {
        const { session, library } = this.#servers;
        return { session, epoch: this.#epoch, path: true, ...this.#check.identity, library: library || undefined };
    }

    /** @returns {boolean} whether the file may become complete, because all of it is of one moment */
    #seal() {
        return this.#check.seal(this.scheduler.unacked, {
            wanted: () => this.#running,
            done: (problem) => this.#sealed(problem),
        });
    }

    /** @param {Problem | null} problem of the file */
    #sealed(problem) {
        if (!this.#running) return;
        if (problem) this.#fail(problem);
        else this.#pool.pump();
    }

    /**
     * @param {PooledConnection} pooled
     * @param {Welcome} welcome
     */
    #welcomed(pooled, welcome) {
        this.#limits = welcome;
        const may_lag = pooled.overtaken && welcome.epoch === this.#epoch;
        this.#epoch = welcome.epoch;
        this.#servers.met(welcome);
        const first = !this.#connected;
        if (pooled.whole) this.#servers.transports.whole_worked();
        this.#connector.welcomed(pooled.connection.kind);
        if (first) {
            this.#connected_at = this.#page.env.now();
            this.scheduler.restart();
        }
        this.scheduler.align(welcome.alignment ?? 1);
        this.#connected = true;
        this.#kind = pooled.connection.kind;
        this.problem = null;
        if (welcome.direct && pooled.connection.about_parts) this.#pool.go_direct(pooled, welcome.alignment ?? 1);
        this.scheduler.confirm(welcome.extents, may_lag);
        this.#receiving = is_receiving(welcome.state);
        // This further connection was being opened when a cancel was sent: its receiving state is no answer to that.
        if (this.#cancelling && this.#receiving) return this.#owner.changed();
        if (!reason_follows(welcome.state)) this.#reported({ state: welcome.state, reason: "", code: null });
        if (!this.#running) return;
        if (this.#receiving) this.#pool.flow();
        this.#after_progress();
        this.#owner.changed();
    }

    #acked() {
        this.#reconnection.reset();
        this.#stall_detector.moved();
        this.#after_progress();
        this.#owner.changed();
    }

    /** @param {[number, number]} part */
    async #read(part) {
        const content = await this.#check.read(part);
        return content instanceof Uint8Array || !this.#servers.transports.blobs_fail ? content : content.arrayBuffer();
    }

    #received() {
        this.#stall_detector.moved();
        this.#after_progress();
        this.#owner.changed();
    }

    #after_progress() {
        if (this.#cancelling || !this.#running || !this.#receiving) return;
        if (this.scheduler.complete) return this.#stall_detector.await_arrival();
        this.#seal();
        if (this.transport === "websocket") this.#stall_detector.watch_chunks();
    }

    #reconnect() {
        this.#pool.close();
        this.#connected = false;
        this.#reconnection.now();
        this.#owner.changed();
    }

    /** @param {Outcome} outcome */
    #reported(outcome) {
        this.#receiving = is_receiving(outcome.state);
        if (!this.#receiving) {
            this.#pool.hold();
            this.#stall_detector.stop();
            if (has_arrived(outcome.state)) this.scheduler.confirm([[0, this.#file.size]]);
        }
        this.#owner.reported(outcome);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {Problem | null} problem
     * @param {[number, number] | undefined} oldest chunk in flight
     */
    async #connection_lost(pooled, problem, oldest) {
        // The usual way at once. What has arrived stays.
        if (pooled.whole && !problem && !this.#connected && !this.#cancelling) return this.#reconnection.now();
        const useless = this.#connector.is_useless(pooled, problem);
        if (useless) problem = null;
        if (problem && !problem.retry && !ASK_AGAIN.has(problem.code)) return this.#fail(problem);
        const { attempt } = this.#reconnection;
        if (!problem && oldest) {
            const found = await this.#check.doubt(oldest);
            if (attempt !== this.#reconnection.attempt) return;
            if (found) return this.#fail(found);
            this.#selector.unacknowledged();
        }
        if (this.#pool.welcomed.length > 0) return this.#owner.changed();
        // The other kind was opened in parallel, and may still be welcomed.
        if (!problem && !this.#connected && this.#pool.count > 0) return;
        if (useless && !this.#connected) return this.#reconnection.now();
        const { kind } = pooled.connection;
        // An immediate attempt with the other kind does not change the shown state.
        if (!problem && !this.#connected && this.#selector.failed(kind)) return this.#reconnection.now();
        if (!problem && this.#connected) this.#selector.cut(kind, this.#page.env.now() - this.#connected_at);
        this.#lost(problem);
        this.#owner.changed();
    }

    /** @param {Problem | null} problem */
    #lost(problem) {
        const shown = this.#connector.failed(problem);
        this.#connected = false;
        this.#stall_detector.stop();
        this.#pool.close();
        if (this.#cancelling && !(problem && ASK_AGAIN.has(problem.code))) return this.#unanswered();
        this.#end_cancel();
        if (shown?.retry) this.problem = shown;
        this.#reconnection.later(problem?.retry_after);
    }

    #unanswered() {
        this.stop();
        this.#owner.unanswered();
    }

    /** @param {Problem} problem */
    #fail(problem) {
        this.stop();
        this.#owner.failed(problem);
    }
}
