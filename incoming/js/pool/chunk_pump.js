// Assigns chunks to the connections of one upload: which connection sends next, how much, and when to wait. How many
// connections there are is the sizer's decision, which bytes a chunk has the scheduler's.

import { Endgame } from "./endgame.js";
import { AHEAD } from "./rate_controller.js";

/** @typedef {import("./connection_pool.js").PooledConnection} PooledConnection */

/**
 * @typedef {object} Owner
 * @property {() => boolean} may_complete asked before the last bytes are sent; `pump` again when the answer has changed
 * @property {(pooled: PooledConnection) => void} stuck the connection delivers nothing while others are idle
 */

/** Round trips until a WebSocket is welcomed: TCP's handshake, the upgrade, and the hello. */
const OPENING_TRIPS = 3;
const ENDGAME_CHECK_INTERVAL = 100;
/** Milliseconds after which a limit of the rate that was changed or lifted meanwhile holds. */
const RATE_CHECK_INTERVAL = 1_000;

export class ChunkPump {
    #env;
    #pool;
    #scheduler;
    #rates;
    #bucket;
    #owner;
    #endgame;
    /** @type {unknown} */
    #bucket_timer = null;
    /** @type {unknown} */
    #endgame_timer = null;
    #flowing = false;
    /** Whether a connection with nothing in flight got none of the missing bytes. */
    #keeps = false;
    /** @type {WeakSet<PooledConnection>} those whose last chunk was one that another is late with */
    #repeating = new WeakSet();
    /** @type {WeakSet<PooledConnection>} those that got a chunk with their hello, until they are welcomed */
    #ahead = new WeakSet();

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {Iterable<PooledConnection>} pool the connections, as they are at each moment
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./rate_controller.js").RateController} rates
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {Owner} owner
     */
    constructor(env, pool, scheduler, rates, bucket, owner) {
        this.#env = env;
        this.#pool = pool;
        this.#scheduler = scheduler;
        this.#rates = rates;
        this.#bucket = bucket;
        this.#owner = owner;
        this.#endgame = new Endgame(scheduler, rates);
    }

    /**
     * Allows chunks to be sent: after the first welcome of a session.
     * @param {import("../transport/messages.js").Welcome | null} welcome
     */
    flow(welcome) {
        if (welcome && takes_ahead(welcome)) for (const pooled of this.#pool) this.#adopt(pooled);
        this.#flowing = true;
        this.pump();
    }

    /** Sends nothing more. */
    hold() {
        this.#flowing = false;
        this.#env.stop(this.#bucket_timer);
        this.#env.stop(this.#endgame_timer);
    }

    /** Gives chunks to every connection with room for one, in turn, until none has. */
    pump() {
        if (!this.#flowing) return;
        this.#keeps = false;
        let busy = true;
        while (busy) {
            busy = false;
            for (const pooled of this.#pool) busy = this.#feed(pooled) || busy;
        }
        this.#env.stop(this.#endgame_timer);
        const has_come = this.#endgame.has_come(this.#env.now());
        // What is kept for another connection may be late there.
        if (has_come || this.#keeps) this.#endgame_timer = this.#env.after(ENDGAME_CHECK_INTERVAL, () => this.#check_endgame());
    }

    /** @param {PooledConnection} pooled */
    is_idle(pooled) {
        return !pooled.retiring && !this.#scheduler.oldest(pooled.connection);
    }

    /** Close stuck connections, but only when other connections are idle. */
    #check_endgame() {
        if (this.#keeps) return this.pump();
        const ready = [...this.#pool].filter(({ rate }) => rate);
        if (ready.some((pooled) => this.is_idle(pooled))) {
            const now = this.#env.now();
            const is_stuck = (/** @type {PooledConnection} */ pooled) => !this.is_idle(pooled) && this.#endgame.is_stuck(pooled, now);
            for (const pooled of ready.filter(is_stuck)) this.#owner.stuck(pooled);
        }
        this.pump();
    }

    /**
     * @param {PooledConnection} pooled
     * @returns {boolean} whether it was given a chunk
     */
    #feed(pooled) {
        const { connection, rate } = pooled;
        if (!rate || (pooled.retiring && !this.#scheduler.owes(connection))) return false;
        const { bytes_missing, bytes_ahead } = this.#scheduler;
        const now = this.#env.now();
        const repeats = bytes_missing === 0;
        if (repeats && this.#scheduler.reserved) return false;
        const overtaken = repeats ? this.#endgame.overtaken(pooled, this.#pool, now) : null;
        if (repeats && !overtaken && !this.#repeats_late(pooled, now)) return false;
        const size = this.#rates.next_size(rate, bytes_missing || bytes_ahead, connection, now);
        if (size === 0) {
            this.#keeps ||= !repeats && this.is_idle(pooled);
            return false;
        }
        if (!repeats && size >= bytes_missing && !this.#owner.may_complete()) return false;
        const wait = this.#bucket.wait(now);
        if (wait > 0) {
            this.#env.stop(this.#bucket_timer);
            this.#bucket_timer = this.#env.after(Math.min(wait, RATE_CHECK_INTERVAL), () => this.pump());
            return false;
        }
        const portion = this.#bucket.portion(Math.min(size, overtaken?.bytes ?? size));
        const chunk = repeats ? this.#scheduler.repeat(connection, portion, overtaken?.connection) : this.#scheduler.take(connection, portion);
        if (!chunk) return false;
        if (overtaken) this.#endgame.took_over(chunk[1] - chunk[0]);
        if (repeats) this.#repeating.add(pooled);
        else this.#repeating.delete(pooled);
        this.#count(pooled, rate, chunk, now);
        connection.send(chunk);
        return true;
    }

    /**
     * Idle connections send the late chunks of others again, several at once.
     * @param {PooledConnection} pooled
     * @param {number} now
     */
    #repeats_late(pooled, now) {
        return this.#endgame.is_late(now) && (this.is_idle(pooled) || this.#repeating.has(pooled));
    }

    /**
     * Sends the beginning of the file right behind the hello, to a server that has not answered yet.
     * @param {PooledConnection} pooled
     */
    send_ahead(pooled) {
        this.#ahead.add(pooled);
        pooled.connection.send([0, AHEAD]);
    }

    /**
     * A chunk that was sent with the hello is in flight from the welcome on. Its ack comes so soon after it that the line would
     * seem faster than it is: the time counts from the hello on.
     * @param {PooledConnection} pooled
     */
    #adopt(pooled) {
        const { connection, rate } = pooled;
        const now = this.#env.now();
        if (!rate || !this.#ahead.delete(pooled)) return;
        const chunk = this.#scheduler.take(connection, AHEAD);
        if (!chunk) return;
        if (chunk[0] === 0 && chunk[1] === AHEAD) this.#count(pooled, rate, chunk, now - (now - pooled.opened) / OPENING_TRIPS);
        else this.#scheduler.put_back(connection, chunk[0]);
    }

    /**
     * @param {PooledConnection} pooled
     * @param {import("./rate_controller.js").ConnectionRate} rate of it
     * @param {[number, number]} chunk that is in flight from now on
     * @param {number} since when it was sent
     */
    #count(pooled, rate, [start, end], since) {
        this.#bucket.spend(end - start);
        if (this.#scheduler.chunks_of(pooled.connection) === 1) pooled.last_ack = this.#env.now();
        pooled.sent.set(start, since);
        this.#rates.sent(rate, end - start, since);
    }
}

/** @param {import("../transport/messages.js").Welcome} welcome */
function takes_ahead({ direct, extents, received = [] }) {
    return !direct && extents.length + received.length === 0;
}
