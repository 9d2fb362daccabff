// How fast the line is, and what follows from it: the size of the next chunk and how far to be ahead of the acks.
// Pure: told what was sent and acknowledged and when, in milliseconds. Which bytes and which connection is not its
// business; rates are bytes a second.

/**
 * @typedef {object} Limits from the server, bytes
 * @property {number} chunk_min
 * @property {number} chunk_max
 * @property {number} window
 */

/** A chunk is about this much of its connection's line, so that acks come often and the overhead stays small. */
const CHUNK_SECONDS = 0.7;
/** One that goes alone has a round trip of silence behind it. */
const LONE_CHUNK_SECONDS = 1.2;
/** Being this far ahead keeps a line of up to a second's round trip busy while acks are on their way. */
const AHEAD_SECONDS = 2;
/** Data in the send buffer cannot be withdrawn: on pause and cancel it is sent before the control message. */
const BUFFERED_SECONDS = 0.75;
/** Near the end no connection gets more than it can deliver soon, or all others would wait for it. */
const ENDGAME_SECONDS = 2;
const ENDGAME_FACTOR = 0.5;
/** Pieces that take less time than this cost more for what goes along with each than the others would wait. */
const SHORTEST_CHUNK_SECONDS = 0.05;

const MEMORY = 2000;

const KIB = 1024;
const MIB = 1024 * KIB;
const SMALLEST_WINDOW = 2 * MIB;
const MOST_BUFFERED = 8 * MIB;
/** Chunks that fill the line while its speed is not known. */
const FIRST_CHUNKS = 4;
/** What a further connection begins with is small for what the others have found. */
const FIRST_CHUNK_SECONDS = 0.2;
const GROWTH = 4;
/** A piece that is larger than any that arrived and gets no answer, twice: it is not the line, it is the size. */
const SUSPICIONS = 2;

const clamp = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
    Math.max(low, Math.min(high, value));

/** A rate, the last seconds weighing most; only the time in which something was on its way counts. */
export class Meter {
    #store;
    #since = 0;
    #bytes = 0;
    #milliseconds = 0;

    /** @param {number} store milliseconds after which a moment weighs a third */
    constructor(store) {
        this.#store = store;
    }

    /** @param {number} now from here on bytes are on their way; before it there was nothing to measure */
    resume(now) {
        this.#since = now;
    }

    /**
     * @param {number} now
     * @param {number} bytes
     */
    add(now, bytes) {
        const elapsed = now - this.#since;
        const faded = Math.exp(-elapsed / this.#store);
        this.#since = now;
        this.#bytes = this.#bytes * faded + bytes;
        this.#milliseconds = this.#milliseconds * faded + elapsed;
    }

    /** Bytes a second, 0 as long as there is nothing to tell. */
    get rate() {
        return (this.#bytes * 1000) / Math.max(1, this.#milliseconds);
    }
}

/** What is known of one connection; the controller alone changes it. */
export class ConnectionRate {
    meter = new Meter(MEMORY);
    heard = false;
    ahead = 0;
    /** It belongs to the pool still. */
    present = true;
    /** Chunks grow until they are as large as the line wants them: a slow line must never get a huge one first. */
    ramp;
    #assumed;

    /**
     * @param {number} first_chunk bytes
     * @param {number} assumed rate until there is one to measure
     */
    constructor(first_chunk, assumed) {
        this.ramp = first_chunk;
        this.#assumed = assumed;
    }

    get rate() {
        return this.meter.rate || this.#assumed;
    }
}

export class RateController {
    /** @type {Limits} */
    #limits = { chunk_min: 64 * KIB, chunk_max: 8 * MIB, window: 64 * MIB };
    #piece_limit = Infinity;
    /** The largest piece that has arrived. */
    #proven = 0;
    #suspicions = 0;
    #connections = 0;
    #meter = new Meter(MEMORY);
    #ahead = 0;

    /** @param {Limits} limits */
    obey(limits) {
        this.#limits = limits;
    }

    /** Bytes a second over all connections. */
    get rate() {
        return this.#meter.rate;
    }

    /**
     * Something on the way refused a piece of `size` bytes: none as large goes out again.
     * @param {number} size
     * @returns {number} what goes at most from now on
     */
    refuse(size) {
        this.#piece_limit = Math.max(1, Math.floor(Math.min(size, this.#piece_limit) / 2));
        return this.#piece_limit;
    }

    /**
     * A request with a piece of `size` bytes ended without an answer. Where a proxy refuses a large body, a page of another
     * host cannot read that: the refusal has no CORS headers.
     * @param {number} size
     */
    unanswered(size) {
        if (size <= this.#proven || ++this.#suspicions < SUSPICIONS) return;
        this.#suspicions = 0;
        this.refuse(size);
    }

    /**
     * A connection begins small, unless others have found out what to expect of it.
     * @returns {ConnectionRate} by which it is named from now on
     */
    join() {
        const { chunk_min, chunk_max } = this.#limits;
        const share = this.rate / ++this.#connections;
        const first = clamp(share * FIRST_CHUNK_SECONDS, chunk_min, chunk_max);
        return new ConnectionRate(this.#whole(first), share);
    }

    /** @param {ConnectionRate} pooled to be used no more */
    leave(pooled) {
        pooled.present = false;
        this.#ahead -= pooled.ahead;
        this.#connections--;
    }

    /**
     * The size of the next chunk for this connection, or 0 if it has enough on its way for now.
     * @param {ConnectionRate} pooled
     * @param {number} missing bytes of the file that are still to be sent
     * @param {{depth: number, buffered: number}} capacity of the connection
     */
    next_size(pooled, missing, capacity) {
        const { rate } = pooled;
        const ending = missing < this.rate * ENDGAME_SECONDS;
        const soon = ending ? ENDGAME_FACTOR : 1;
        const lone = capacity.depth === 1;
        const { chunk_min, chunk_max, window } = this.#limits;
        // A request's body is stored while it comes: it is not the server's memory that limits it.
        const most = lone ? Math.max(chunk_max, window / this.#connections) : chunk_max;
        const seconds = lone ? LONE_CHUNK_SECONDS : CHUNK_SECONDS;
        const size = this.#chunk_size(pooled, Math.min(rate * seconds * soon, most), missing);
        if (this.#ahead === 0) return size;
        if (this.#ahead + size > window) return 0;
        // While TCP finds out what a young connection can do, the others are done.
        if (ending && !pooled.meter.rate) return 0;
        // The window is full of what other connections are slow with; one that has nothing must show what it can.
        if (pooled.ahead === 0) return size;
        if (this.#ahead + size > Math.max(this.rate * AHEAD_SECONDS, SMALLEST_WINDOW)) return 0;
        if (lone) return 0;
        if (capacity.buffered > clamp(rate * BUFFERED_SECONDS, FIRST_CHUNKS * chunk_min, MOST_BUFFERED)) return 0;
        const wanted = Math.max(rate * AHEAD_SECONDS * soon, FIRST_CHUNKS * chunk_min);
        // A queue of small chunks would only keep the larger ones waiting.
        return pooled.ahead + size <= Math.min(wanted, FIRST_CHUNKS * pooled.ramp) ? size : 0;
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} bytes that would be right for the line
     * @param {number} missing
     */
    #chunk_size(pooled, bytes, missing) {
        const { chunk_min } = this.#limits;
        const share = missing / (2 * this.#connections);
        const wanted = Math.min(bytes, pooled.ramp, Math.max(share, pooled.rate * SHORTEST_CHUNK_SECONDS, chunk_min));
        return Math.min(this.#whole(wanted), this.#piece_limit, this.#limits.window);
    }

    /** @param {number} bytes */
    #whole(bytes) {
        const { chunk_min } = this.#limits;
        return Math.max(1, Math.floor(bytes / chunk_min)) * chunk_min;
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     * @param {number} now
     */
    sent(pooled, bytes, now) {
        if (!pooled.present) return;
        if (pooled.ahead === 0) pooled.meter.resume(now);
        if (this.#ahead === 0) this.#meter.resume(now);
        pooled.ahead += bytes;
        this.#ahead += bytes;
    }

    /**
     * @param {ConnectionRate} pooled
     * @returns {number} milliseconds in which what it has on its way should arrive
     */
    expected(pooled) {
        return pooled.rate ? (pooled.ahead * 1000) / pooled.rate : 0;
    }

    /** Milliseconds in which all that is on its way should arrive, if the line is what sets the speed. */
    get remaining() {
        return (this.#ahead * 1000) / Math.max(1, this.rate);
    }

    /**
     * A chunk turned out not to be on its way.
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     */
    undone(pooled, bytes) {
        if (!pooled.present) return;
        pooled.ahead -= bytes;
        this.#ahead -= bytes;
    }

    /**
     * Where chunks follow each other closely the round trip before the first ack tells nothing of the line's rate.
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     * @param {number} now
     */
    #measure(pooled, bytes, now) {
        if (pooled.heard || pooled.ahead === 0) pooled.meter.add(now, bytes);
        else pooled.meter.resume(now);
        pooled.heard = true;
        this.#meter.add(now, bytes);
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     * @param {number} now
     */
    acked(pooled, bytes, now) {
        if (!pooled.present) return;
        this.undone(pooled, bytes);
        this.#proven = Math.max(this.#proven, bytes);
        this.#measure(pooled, bytes, now);
        if (bytes >= pooled.ramp) pooled.ramp *= GROWTH;
    }
}
