// Lets stores and frameworks follow an uploader: a frozen copy of what a page sees, a new one after each change, and
// listeners that get it. Decides nothing about what is seen.

/** @typedef {import("../incoming.js").UploaderSnapshot} Snapshot */

export class Snapshots {
    #take;
    #report;
    /** @type {Snapshot | null} */
    #latest = null;
    /** @type {Set<{call: (snapshot: Snapshot) => void}>} */
    #listeners = new Set();

    /**
     * @param {() => Snapshot} take a new copy
     * @param {(error: unknown) => void} report what a listener has thrown
     */
    constructor(take, report) {
        this.#take = take;
        this.#report = report;
    }

    /** The same object until something has changed. */
    get latest() {
        return (this.#latest ??= Object.freeze(this.#take()));
    }

    /** Something has changed; listeners are called by `publish`. */
    changed() {
        this.#latest = null;
    }

    publish() {
        for (const listener of [...this.#listeners]) if (this.#listeners.has(listener)) this.#call(listener);
    }

    /**
     * @param {(snapshot: Snapshot) => void} call at once and after each change
     * @returns {() => void} ends that
     */
    subscribe(call) {
        // The same function may be given twice.
        const listener = { call };
        this.#listeners.add(listener);
        this.#call(listener);
        return () => void this.#listeners.delete(listener);
    }

    /** @param {{call: (snapshot: Snapshot) => void}} listener */
    #call(listener) {
        try {
            listener.call(this.latest);
        } catch (error) {
            this.#report(error);
        }
    }
}
