// The rate of the line, and from it the size of the next chunk and the bytes in flight. Pure: gets what was sent and
// acknowledged and when, in milliseconds. Does not decide which bytes go over which connection. Rates are in bytes a
// second.

/**
 * @typedef {object} Limits from the server, bytes
 * @property {number} chunk_min
 * @property {number} chunk_max
 * @property {number} window
 */

/** Part of what is in flight that is one chunk, so that acks are frequent and the overhead is small. */
const CHUNK_PART = 0.35;
/** A chunk without a successor is followed by an idle round trip. */
const LONE_CHUNK_SECONDS = 1.2;
/** This many bytes in flight keep a line of up to a second's round trip busy. */
const AHEAD_SECONDS = 2;
/**
 * On a short line less is enough: the bytes of 0.3 s and of six times the setup of a connection, which takes about three
 * round trips. What is in flight over a connection that loses packets cannot be given to another.
 */
const AHEAD_AT_LEAST = 0.3;
const AHEAD_SETUPS = 6;
/** The line has become longer than it was then if each of the last chunks took so many times that long. */
const LONGER = 1.25;
const CHUNKS_OBSERVED = 16;
/** Data in the send buffer cannot be withdrawn: on pause and cancel it is sent before the control message. */
const BUFFERED_SECONDS = 0.75;
/** Near the end no connection gets more than it can deliver soon, because all others would wait for it. */
const ENDGAME_SECONDS = 2;
const ENDGAME_FACTOR = 0.5;
/** Near the end a connection gets nothing that another delivers in this part of the time: all others would wait for it. */
const OVERTAKING = 1.5;
/** Shorter pieces cost more overhead than the others would wait. */
const SHORTEST_CHUNK_SECONDS = 0.05;

const MEMORY = 2000;
/** Milliseconds: acks of a young connection may come at once, as if it were far faster than the line. */
const DOUBT = 100;

const KIB = 1024;
const MIB = 1024 * KIB;
/** Bytes that may follow the hello: what TCP sends in the round trip in which the welcome is awaited. */
export const AHEAD = 64 * KIB;
const SMALLEST_WINDOW = 2 * MIB;
const MOST_BUFFERED = 8 * MIB;
/** Chunks that fill the line while its speed is not known. */
const FIRST_CHUNKS = 4;
/** A further connection begins with a small part of what the others reach. */
const FIRST_CHUNK_SECONDS = 0.2;
const GROWTH = 8;
/** Lost pieces that were larger than any that arrived, after which the size is the cause, not the line. */
const SUSPICIONS = 2;

const clamp = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
    Math.max(low, Math.min(high, value));

/** A rate, weighted towards the last seconds; only time with bytes in flight counts. */
export class Meter {
    #store;
    #since = 0;
    #bytes = 0;
    #milliseconds;

    /**
     * @param {number} store milliseconds after which the weight is a third
     * @param {number} [doubt] milliseconds that count as without bytes, so that the first ones do not mean too much
     */
    constructor(store, doubt = 0) {
        this.#store = store;
        this.#milliseconds = doubt;
    }

    /** @param {number} now bytes are in flight from now on; before there was nothing to measure */
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

    /** Bytes a second, 0 while nothing was measured. */
    get rate() {
        return (this.#bytes * 1000) / Math.max(1, this.#milliseconds);
    }

    /**
     * @param {number} now while bytes are in flight
     * @returns {number} bytes a second, if the silence since the last bytes counts
     */
    rate_by(now) {
        const silence = Math.max(0, now - this.#since);
        const faded = Math.exp(-silence / this.#store);
        return (this.#bytes * faded * 1000) / Math.max(1, this.#milliseconds * faded + silence);
    }
}

/** The measurements of one connection; only the controller changes them. */
export class ConnectionRate {
    meter = new Meter(MEMORY, DOUBT);
    acknowledged = false;
    ahead = 0;
    /** Chunks grow to the size that suits the line, so that a slow line never gets a huge one first. */
    ramp;
    /** Until there is one to measure. */
    assumed;

    /**
     * @param {number} first_chunk bytes
     * @param {number} assumed rate until there is one to measure
     */
    constructor(first_chunk, assumed) {
        this.ramp = first_chunk;
        this.assumed = assumed;
    }

    get rate() {
        return this.meter.rate || this.assumed;
    }
}

export class RateController {
    /** @type {Limits} */
    #limits = { chunk_min: 64 * KIB, chunk_max: 8 * MIB, window: 64 * MIB };
    #piece_limit = Infinity;
    /** The largest piece that has arrived. */
    #proven = 0;
    #suspicions = 0;
    /** @type {Set<ConnectionRate>} of those in the pool */
    #connections = new Set();
    #meter = new Meter(MEMORY);
    #ahead = 0;
    /** Milliseconds of the quickest setup of a connection. */
    #setup = Infinity;
    /** Milliseconds that the last chunks took. @type {number[]} */
    #latencies = [];

    /** @param {Limits} limits */
    obey(limits) {
        this.#limits = limits;
    }

    /** Bytes a second over all connections. */
    get rate() {
        return this.#meter.rate;
    }

    /** Bytes that the line carries while a connection is set up. */
    get bytes_in_setup() {
        return (this.rate * this.#setup) / 1000;
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
     * A connection starts with small chunks, unless others have measured the line.
     * @param {number} setup milliseconds until the server had answered
     * @returns {ConnectionRate} that identifies it from now on
     */
    join(setup) {
        this.#setup = this.#connections.size > 0 ? Math.min(this.#setup, setup) : setup;
        const { chunk_min, chunk_max } = this.#limits;
        const share = this.rate / (this.#connections.size + 1);
        const first = clamp(share * FIRST_CHUNK_SECONDS, chunk_min, chunk_max);
        const pooled = new ConnectionRate(this.#whole(first), share);
        this.#connections.add(pooled);
        return pooled;
    }

    /** @param {ConnectionRate} pooled to be used no more */
    leave(pooled) {
        this.#connections.delete(pooled);
        this.#ahead -= pooled.ahead;
    }

    /** Seconds of its rate that are in flight over a connection that carries several chunks. */
    get #seconds_ahead() {
        const enough = AHEAD_AT_LEAST + (AHEAD_SETUPS * this.#setup) / 1000;
        const longer = this.#latencies.length === CHUNKS_OBSERVED && Math.min(...this.#latencies) > enough * LONGER * 1000;
        return longer ? AHEAD_SECONDS : Math.min(enough, AHEAD_SECONDS);
    }

    /**
     * The size of the next chunk for this connection, or 0 if it has enough in flight for now.
     * @param {ConnectionRate} pooled
     * @param {number} missing bytes of the file that are still to be sent
     * @param {{depth: number, buffered: number}} capacity of the connection
     * @param {number} now
     */
    next_size(pooled, missing, capacity, now) {
        const { rate } = pooled;
        const ending = missing < this.rate * ENDGAME_SECONDS;
        const soon = ending ? ENDGAME_FACTOR : 1;
        const lone = capacity.depth === 1;
        const { chunk_min, chunk_max, window } = this.#limits;
        // A request's body is stored while it arrives: the server's memory does not limit it.
        const most = lone ? Math.max(chunk_max, window / this.#connections.size) : chunk_max;
        const seconds_ahead = lone ? AHEAD_SECONDS : this.#seconds_ahead;
        const seconds = lone ? LONE_CHUNK_SECONDS : seconds_ahead * CHUNK_PART;
        const size = this.#chunk_size(pooled, Math.min(rate * seconds * soon, most), missing);
        if (this.#ahead === 0) return size;
        if (this.#ahead + size > window) return 0;
        // The others finish during the slow start of a young connection.
        if (ending && !pooled.meter.rate) return 0;
        if (ending && !lone && this.#is_overtaken(pooled, size, now)) return 0;
        // The window is full with the chunks of slow connections; an idle one gets a chunk to be measured.
        if (pooled.ahead === 0) return size;
        if (this.#ahead + size > Math.max(this.rate * AHEAD_SECONDS, SMALLEST_WINDOW)) return 0;
        if (lone) return 0;
        if (capacity.buffered > clamp(rate * BUFFERED_SECONDS, FIRST_CHUNKS * chunk_min, MOST_BUFFERED)) return 0;
        const wanted = Math.max(rate * seconds_ahead * soon, FIRST_CHUNKS * chunk_min);
        // The chunk that went with the hello may be smaller than the others: it does not take the place of one.
        const begun = pooled.ahead - (pooled.ahead % chunk_min);
        // A queue of small chunks would only delay the larger ones.
        return begun + size <= Math.min(wanted, FIRST_CHUNKS * pooled.ramp) ? size : 0;
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} size of a chunk
     * @param {number} now
     * @returns {boolean} whether another connection would deliver it much sooner, behind all that it has in flight
     */
    #is_overtaken(pooled, size, now) {
        const own = this.seconds(pooled, pooled.ahead + size, now);
        return [...this.#connections].some((one) => this.overtakes(one, size, own, now));
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     * @param {number} now
     * @returns {number} seconds in which it delivers them, by what it has delivered until now, or by what is assumed
     */
    seconds({ meter, ahead, assumed }, bytes, now) {
        return bytes / (meter.rate > 0 ? meter.rate_by(ahead > 0 ? now : -Infinity) : assumed);
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} size of a chunk
     * @param {number} seconds in which another connection delivers it
     * @param {number} now
     * @returns {boolean} whether this one delivers it much sooner, behind all that it has in flight
     */
    overtakes(pooled, size, seconds, now) {
        return pooled.meter.rate > 0 && this.seconds(pooled, pooled.ahead + size, now) * OVERTAKING < seconds;
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} bytes that would be right for the line
     * @param {number} missing
     */
    #chunk_size(pooled, bytes, missing) {
        const { chunk_min } = this.#limits;
        const share = missing / (2 * this.#connections.size);
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
        if (!this.#connections.has(pooled)) return;
        if (pooled.ahead === 0) pooled.meter.resume(now);
        if (this.#ahead === 0) this.#meter.resume(now);
        pooled.ahead += bytes;
        this.#ahead += bytes;
    }

    /**
     * @param {ConnectionRate} pooled
     * @returns {number} milliseconds in which its bytes in flight should arrive
     */
    expected(pooled) {
        return pooled.rate ? (pooled.ahead * 1000) / pooled.rate : 0;
    }

    /** Milliseconds in which all bytes in flight should arrive, if the line limits the rate. */
    get remaining() {
        return (this.#ahead * 1000) / Math.max(1, this.rate);
    }

    /**
     * A chunk was not in flight after all.
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     */
    undone(pooled, bytes) {
        if (!this.#connections.has(pooled)) return;
        pooled.ahead -= bytes;
        this.#ahead -= bytes;
    }

    /**
     * Where chunks follow each other closely the round trip before the first ack does not measure the line's rate.
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     * @param {number} now
     * @param {number} since when they were sent
     */
    #measure(pooled, bytes, now, since) {
        if (pooled.acknowledged || pooled.ahead === 0) pooled.meter.add(now, bytes);
        else {
            pooled.assumed = Math.max(pooled.assumed, (bytes * 1000) / Math.max(1, now - since));
            pooled.meter.resume(now);
        }
        pooled.acknowledged = true;
        this.#meter.add(now, bytes);
    }

    /**
     * @param {ConnectionRate} pooled
     * @param {number} bytes
     * @param {number} now
     * @param {number} since when they were sent
     */
    acked(pooled, bytes, now, since) {
        this.#latencies = [now - since, ...this.#latencies].slice(0, CHUNKS_OBSERVED);
        if (!this.#connections.has(pooled)) return;
        this.undone(pooled, bytes);
        this.#proven = Math.max(this.#proven, bytes);
        this.#measure(pooled, bytes, now, since);
        if (bytes >= pooled.ramp) pooled.ramp *= GROWTH;
    }
}
