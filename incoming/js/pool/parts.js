// Which part of a file a connection works on, where the server stores whole parts of a fixed size only (as object
// stores do): a connection finishes the part that it has begun, and no other sends bytes of it. Pure; a connection is
// any object.

/** @typedef {[number, number]} Range */
/** @typedef {import("./ranges.js").Ranges} Ranges */

export class Parts {
    #total;
    #size;
    /** @type {Map<object, Set<number>>} for each connection the numbers of the parts that are its own */
    #owned = new Map();

    /**
     * @param {number} total bytes of the file
     * @param {number} size bytes of a part
     */
    constructor(total, size) {
        this.#total = total;
        this.#size = size;
    }

    /**
     * What a connection sends next: from its own parts first, then from one that was begun by a connection that is gone,
     * then from a new one.
     * @param {object} connection
     * @param {Ranges} missing bytes that are not sent
     * @param {Ranges} arrived
     * @param {boolean} [begun] only of parts that have been begun
     * @returns {Range | null} missing bytes within one part, from now on the connection's own; null when others have all
     */
    next(connection, missing, arrived, begun = false) {
        const own = this.#owned.get(connection) ?? new Set();
        for (const part of own) if (this.#is_full(part, arrived)) own.delete(part);
        const part = this.#unfinished(own, missing) ?? this.#free(missing, begun);
        if (part === undefined) return null;
        this.#owned.set(connection, own.add(part));
        return this.#first_of(part, missing);
    }

    /**
     * @param {object} connection
     * @param {Ranges} missing
     * @returns {boolean} whether it has begun a part and not sent all of it
     */
    owes(connection, missing) {
        return this.#unfinished(this.#owned.get(connection) ?? [], missing) !== undefined;
    }

    /**
     * @param {Iterable<number>} own
     * @param {Ranges} missing
     */
    #unfinished(own, missing) {
        return [...own].find((part) => this.#measure(part, missing) > 0);
    }

    /**
     * @param {number} start
     * @param {number} end
     * @returns {Range} the end of it that lies in one part
     */
    last_of(start, end) {
        return [Math.max(start, Math.floor((end - 1) / this.#size) * this.#size), end];
    }

    /** @param {object} connection that is gone: its parts are free */
    release(connection) {
        this.#owned.delete(connection);
    }

    /**
     * @param {object} connection
     * @param {Ranges} missing bytes that are not sent
     * @returns {Range | null} the first part of which nothing was sent, from now on the connection's own
     */
    next_whole(connection, missing) {
        const taken = this.#taken();
        for (const [start, end] of missing) {
            for (let part = Math.ceil(start / this.#size); part * this.#size < end; part++) {
                if (taken.has(part) || this.#is_begun(part, missing)) continue;
                this.#owned.set(connection, new Set([part]));
                return this.#bounds(part);
            }
        }
        return null;
    }

    #taken() {
        return new Set([...this.#owned.values()].flatMap((parts) => [...parts]));
    }

    /**
     * @param {Ranges} missing
     * @param {boolean} begun
     */
    #free(missing, begun) {
        const taken = this.#taken();
        let fresh;
        for (const [start, end] of missing) {
            const [first, last] = [Math.floor(start / this.#size), Math.floor((end - 1) / this.#size)];
            // Of one range only the parts at its ends can have been begun.
            for (const part of [first, last]) if (!taken.has(part) && this.#is_begun(part, missing)) return part;
            for (let part = first; !begun && fresh === undefined && part <= last; part++) if (!taken.has(part)) fresh = part;
        }
        return fresh;
    }

    /**
     * @param {number} part
     * @param {Ranges} missing
     */
    #is_begun(part, missing) {
        const [start, end] = this.#bounds(part);
        return this.#measure(part, missing) < end - start;
    }

    /**
     * @param {number} part
     * @param {Ranges} arrived
     */
    #is_full(part, arrived) {
        const [start, end] = this.#bounds(part);
        return this.#measure(part, arrived) === end - start;
    }

    /**
     * @param {number} part
     * @param {Ranges} ranges
     */
    #measure(part, ranges) {
        return ranges.measure(...this.#bounds(part));
    }

    /**
     * @param {number} part
     * @returns {Range}
     */
    #bounds(part) {
        return [part * this.#size, Math.min(this.#total, (part + 1) * this.#size)];
    }

    /**
     * @param {number} part with missing bytes
     * @param {Ranges} missing
     * @returns {Range}
     */
    #first_of(part, missing) {
        const [low, high] = this.#bounds(part);
        const [start, end] = /** @type {Range} */ (missing.at_or_after(low));
        return [Math.max(low, start), Math.min(high, end)];
    }
}
