// Which bytes go over which connection: what has arrived, what is in flight, what is still to be sent. Every byte is in
// exactly one of the three, in flight possibly over two connections; what the server has received and not made safe yet
// counts as in flight. Pure: sizes and rates are the rate controller's
// decision, and a connection is any object.

import { Parts } from "./parts.js";
import { Ranges } from "./ranges.js";

/** @typedef {[number, number]} Range */

export class ChunkScheduler {
    #total;
    #arrived = new Ranges();
    #missing = new Ranges();
    /** @type {Map<object, Map<number, number>>} for each connection its chunks in flight, start -> end */
    #flying = new Map();
    /** @type {Map<object, Ranges>} for each connection what its server has received and may still lose */
    #received = new Map();
    #chunks_acked = 0;
    /** @type {Parts | null} null where the server has no parts of a fixed size */
    #parts = null;
    #part_size = 1;
    /** In the place of a connection: what an object store has taken and the server has not seen yet. */
    #store = {};
    /** Whether parts that are not begun are left to `take_part`. */
    reserved = false;

    /** @param {number} total bytes of the file */
    constructor(total) {
        this.#total = total;
        this.#missing.add(0, total);
    }

    /** Bytes known to have arrived. */
    get bytes_acked() {
        return this.#arrived.size;
    }

    /** Bytes that have arrived, or that the server has received at least. */
    get bytes_received() {
        if (this.#received.size === 0 && !this.#flying.has(this.#store)) return this.#arrived.size;
        const received = new Ranges(this.#arrived);
        for (const ranges of this.#unsafe()) for (const [start, end] of ranges) received.add(start, end);
        return received.size;
    }

    /** Bytes sent that are not known to have arrived. */
    get bytes_ahead() {
        return this.#total - this.#arrived.size - this.#missing.size;
    }

    /** Bytes not yet sent. */
    get bytes_missing() {
        return this.#missing.size;
    }

    /** @returns {Range[]} bytes that are not known to have arrived */
    get unacked() {
        const unacked = new Ranges([[0, this.#total]]);
        for (const [start, end] of this.#arrived) unacked.remove(start, end);
        return [...unacked];
    }

    /** Chunks sent of which not every byte is known to have arrived. */
    get chunks_ahead() {
        return this.#count((start, end) => !this.#has(start, end)) + this.#received_apart;
    }

    /**
     * Chunks known to have arrived since the last `restart`; the state of the whole file may come before the last acks.
     */
    get chunks_acked() {
        return this.#chunks_acked + this.#count((start, end) => this.#has(start, end));
    }

    get complete() {
        return this.#arrived.size === this.#total;
    }

    /** @param {number} part_size bytes that the server stores at a time: no chunk crosses a multiple of it; 1 for any */
    align(part_size) {
        if (part_size === this.#part_size) return;
        this.#part_size = part_size;
        this.#parts = this.#new_parts();
    }

    /** A new connection after none: restart the counts of chunks. */
    restart() {
        this.#parts = this.#new_parts();
        this.#flying.clear();
        this.#chunks_acked = 0;
        this.#recount();
    }

    #new_parts() {
        return this.#part_size > 1 ? new Parts(this.#total, this.#part_size) : null;
    }

    /**
     * The server reports what it has. With chunks in flight, or when it `may_lag`, the list may be older than a later ack, so
     * it only adds; without, it is complete, even if that is less than before.
     * @param {Iterable<Range>} extents
     * @param {boolean} [may_lag] others' chunks were acknowledged meanwhile, in the same epoch: nothing is lost within one
     */
    confirm(extents, may_lag = false) {
        if (!may_lag && this.#count(() => true) === 0) this.#arrived = new Ranges();
        for (const [start, end] of extents) this.#arrived.add(start, Math.min(end, this.#total));
        this.#recount();
    }

    /**
     * What the server at the other end of a connection has made safe, and all that it has received besides: the rest of what
     * it had received is lost, and missing again unless it is in flight.
     * @param {object} connection
     * @param {Iterable<Range>} extents
     * @param {Range[]} ranges
     */
    receive(connection, extents, ranges) {
        for (const [start, end] of extents) this.#arrived.add(start, Math.min(end, this.#total));
        if (ranges.length > 0) this.#received.set(connection, new Ranges(ranges));
        else this.#received.delete(connection);
        this.#recount();
    }

    /**
     * The next chunk for a connection, then in flight; null when there is nothing left to send, or only bytes of parts
     * that other connections have begun.
     * @param {object} connection
     * @param {number} size bytes at most
     * @returns {Range | null}
     */
    take(connection, size) {
        const first = this.#parts ? this.#parts.next(connection, this.#missing, this.#arrived, this.reserved) : this.#missing.first;
        if (!first) return null;
        const [start, end] = [first[0], Math.min(first[1], first[0] + size)];
        this.#missing.remove(start, end);
        return this.#fly(connection, start, end);
    }

    /**
     * @param {object} connection
     * @returns {Range | null} a part of which nothing was sent, then in flight
     */
    take_part(connection) {
        const part = this.#parts?.next_whole(connection, this.#missing);
        if (!part) return null;
        this.#missing.remove(...part);
        return this.#fly(connection, ...part);
    }

    /**
     * An object store has taken a part: it is in flight no more, and not yet known to have arrived.
     * @param {object} connection
     * @param {Range} part
     */
    store(connection, part) {
        this.drop(connection);
        this.#fly(this.#store, ...part);
        this.#recount();
    }

    /**
     * What became of a part in an object store.
     * @param {Range} part
     * @param {boolean} there
     */
    settle_part([start, end], there) {
        if (this.#flying.get(this.#store)?.delete(start) && there) this.#chunks_acked++;
        if (there) this.#arrived.add(start, end);
        this.#recount();
    }

    /**
     * @param {object} connection
     * @returns {boolean} whether the next chunk that it takes is of a part that it has begun
     */
    owes(connection) {
        return this.#parts?.owes(connection, this.#missing) ?? false;
    }

    /**
     * Bytes that another connection is late with, once more over this one: the last of them, because that one sends the first
     * ones first. Null when all that it has in flight goes over two connections already.
     * @param {object} connection
     * @param {number} size bytes at most
     * @param {object} [owner] the other connection: that with the most bytes, if none is given
     * @returns {Range | null}
     */
    repeat(connection, size, owner) {
        const [most] = (owner ? [owner] : [...this.#flying.keys()]).map((one) => this.#alone(one)).sort((a, b) => b.size - a.size);
        const last = most?.last;
        if (!last) return null;
        const [start, end] = this.#parts?.last_of(...last) ?? last;
        return this.#fly(connection, Math.max(start, end - size), end);
    }

    /**
     * @param {object} connection
     * @returns {number} bytes in flight over this connection and no other
     */
    bytes_alone(connection) {
        return this.#alone(connection).size;
    }

    /**
     * @param {object} owner
     * @returns {Ranges} bytes in flight over this connection and no other
     */
    #alone(owner) {
        const alone = new Ranges(this.#flying.get(owner));
        for (const [start, end] of this.#arrived) alone.remove(start, end);
        for (const [other, chunks] of this.#flying) {
            if (other !== owner) for (const [start, end] of chunks) alone.remove(start, end);
        }
        return alone;
    }

    /**
     * @param {object} connection
     * @param {number} start
     * @param {number} end
     * @returns {Range}
     */
    #fly(connection, start, end) {
        let chunks = this.#flying.get(connection);
        if (!chunks) this.#flying.set(connection, (chunks = new Map()));
        chunks.set(start, end);
        return [start, end];
    }

    /**
     * @param {object} connection
     * @param {Range} chunk
     * @returns {boolean} whether this connection had that chunk in flight
     */
    ack(connection, [start, end]) {
        const chunks = this.#flying.get(connection);
        if (chunks?.get(start) !== end) return false;
        chunks.delete(start);
        this.#arrived.add(start, end);
        this.#chunks_acked++;
        return true;
    }

    /**
     * A chunk was not sent after all, or refused.
     * @param {object} connection
     * @param {number} start
     */
    put_back(connection, start) {
        if (this.#flying.get(connection)?.delete(start)) this.#recount();
    }

    /**
     * The connection is gone: its chunks in flight are missing again.
     * @param {object} connection
     */
    drop(connection) {
        this.#parts?.release(connection);
        const lost = this.#received.delete(connection);
        const chunks = this.#flying.get(connection);
        if (!chunks) return void (lost && this.#recount());
        for (const [start, end] of chunks) if (this.#has(start, end)) this.#chunks_acked++;
        this.#flying.delete(connection);
        this.#recount();
    }

    /**
     * @param {object} connection
     * @returns {number} its chunks in flight
     */
    chunks_of(connection) {
        return this.#flying.get(connection)?.size ?? 0;
    }

    /**
     * @param {object} connection
     * @returns {Range | undefined} the lowest chunk in flight on this connection
     */
    oldest(connection) {
        const chunks = this.#flying.get(connection);
        return chunks && [...chunks].sort((a, b) => a[0] - b[0])[0];
    }

    /**
     * @param {number} start
     * @param {number} end
     */
    #has(start, end) {
        return this.#arrived.measure(start, end) === end - start;
    }

    /** @param {(start: number, end: number) => boolean} condition on a chunk in flight */
    #count(condition) {
        let sum = 0;
        for (const [start, end] of this.#chunks()) if (condition(start, end)) sum++;
        return sum;
    }

    *#chunks() {
        for (const chunks of this.#flying.values()) yield* chunks;
    }

    /** Ranges that the server has received of chunks that are in flight no more. */
    get #received_apart() {
        if (this.#received.size === 0) return 0;
        const apart = new Ranges();
        for (const ranges of this.#received.values()) for (const [start, end] of ranges) apart.add(start, end);
        for (const known of [this.#arrived, this.#chunks()]) for (const [start, end] of known) apart.remove(start, end);
        return [...apart].length;
    }

    #unsafe() {
        return [...this.#received.values(), new Ranges(this.#flying.get(this.#store))];
    }

    #recount() {
        this.#missing = new Ranges([[0, this.#total]]);
        for (const [start, end] of this.#arrived) this.#missing.remove(start, end);
        for (const [start, end] of this.#chunks()) this.#missing.remove(start, end);
        for (const ranges of this.#unsafe()) for (const [start, end] of ranges) this.#missing.remove(start, end);
    }
}
