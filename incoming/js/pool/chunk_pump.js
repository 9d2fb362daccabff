// Assigns chunks to the connections of one upload: which connection sends next, how much, and when to wait. How many
// connections there are is the sizer's decision, which bytes a chunk has the scheduler's.

import { Endgame } from "./endgame.js";

/** @typedef {import("./connection_pool.js").PooledConnection} PooledConnection */

/**
 * @typedef {object} Owner
 * @property {() => boolean} may_complete asked before the last bytes are sent; `pump` again when the answer has changed
 * @property {(pooled: PooledConnection) => void} stuck the connection delivers nothing while others are idle
 */

const ENDGAME_CHECK_INTERVAL = 500;
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

    /** Allows chunks to be sent: after the first welcome of a session. */
    flow() {
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
        let busy = true;
        while (busy) {
            busy = false;
            for (const pooled of this.#pool) busy = this.#feed(pooled) || busy;
        }
        this.#env.stop(this.#endgame_timer);
        if (!this.#endgame.has_come(this.#env.now())) return;
        this.#endgame_timer = this.#env.after(ENDGAME_CHECK_INTERVAL, () => this.#check_endgame());
    }

    /** @param {PooledConnection} pooled */
    is_idle(pooled) {
        return !pooled.retiring && !this.#scheduler.oldest(pooled.connection);
    }

    /** Close stuck connections, but only when other connections are idle. */
    #check_endgame() {
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
        // Idle connections send the late chunks of others again.
        if (repeats && this.#scheduler.reserved) return false;
        if (repeats && !(this.#endgame.is_late(now) && this.is_idle(pooled))) return false;
        const size = this.#rates.next_size(rate, bytes_missing || bytes_ahead, connection);
        if (size === 0) return false;
        if (!repeats && size >= bytes_missing && !this.#owner.may_complete()) return false;
        const wait = this.#bucket.wait(now);
        if (wait > 0) {
            this.#env.stop(this.#bucket_timer);
            this.#bucket_timer = this.#env.after(Math.min(wait, RATE_CHECK_INTERVAL), () => this.pump());
            return false;
        }
        const portion = this.#bucket.portion(size);
        const chunk = repeats ? this.#scheduler.repeat(connection, portion) : this.#scheduler.take(connection, portion);
        if (!chunk) return false;
        this.#bucket.spend(chunk[1] - chunk[0]);
        if (this.#scheduler.chunks_of(connection) === 1) pooled.last_ack = now;
        pooled.sent.set(chunk[0], now);
        this.#rates.sent(rate, chunk[1] - chunk[0], now);
        connection.send(chunk);
        return true;
    }
}
