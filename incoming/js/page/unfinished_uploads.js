// The unfinished uploads of this site from this browser, so that a page can offer to resume them after it was closed.
// Decides what is stored and for how long; the server keeps the bytes.

/** @typedef {import("../incoming.js").UnfinishedUpload} UnfinishedUpload */

/**
 * What is stored for a ticket.
 * @typedef {object} Entry
 * @property {string} frontend of the server that the ticket is from
 * @property {string} name
 * @property {number} size
 * @property {number} last_modified
 * @property {number} bytes_acked
 * @property {number} last_activity milliseconds since the epoch
 * @property {boolean} can_continue whether the file can be read again without being chosen
 */

/** @type {{[property in keyof Entry]: "string" | "number" | "boolean"}} */
const WELL_FORMED = {
    frontend: "string",
    name: "string",
    size: "number",
    last_modified: "number",
    bytes_acked: "number",
    last_activity: "number",
    can_continue: "boolean",
};
const KEY = "incoming.upload.";
const FORGOTTEN_AFTER = 30 * 24 * 3600 * 1000;
const WRITE_EVERY = 2_000;

export class UnfinishedUploads {
    #page;
    /** @type {Map<string, number>} time of the last write by ticket */
    #written = new Map();

    /** @param {import("./page_context.js").PageContext} page */
    constructor(page) {
        this.#page = page;
    }

    /** @returns {UnfinishedUpload[]} of the server in use, the latest first */
    list() {
        const { store, env, frontend } = this.#page;
        const found = [];
        for (const [ticket, entry] of /** @type {[string, Entry][]} */ (store.entries(KEY, WELL_FORMED))) {
            if (env.wall() - entry.last_activity > FORGOTTEN_AFTER) this.forget(ticket);
            else if (entry.frontend === frontend) found.push({ ticket, ...without_frontend(entry) });
        }
        return found.sort((a, b) => b.last_activity - a.last_activity);
    }

    /**
     * @param {File} file
     * @returns {UnfinishedUpload | null} the unfinished upload of a file with this name, size and modification time
     */
    match(file) {
        const same = (/** @type {UnfinishedUpload} */ entry) =>
            entry.name === file.name && entry.size === file.size && entry.last_modified === file.lastModified;
        return this.list().find(same) ?? null;
    }

    /**
     * @param {string} ticket
     * @param {File} file
     * @param {{bytes_acked: number, can_continue: boolean}} progress
     * @param {boolean} at_once even if it was stored a moment ago
     */
    note(ticket, file, { bytes_acked, can_continue }, at_once) {
        const now = this.#page.env.wall();
        if (!at_once && Math.abs(now - (this.#written.get(ticket) ?? 0)) < WRITE_EVERY) return;
        this.#written.set(ticket, now);
        /** @type {Entry} */
        const entry = {
            frontend: this.#page.frontend,
            name: file.name,
            size: file.size,
            last_modified: file.lastModified,
            bytes_acked,
            last_activity: now,
            can_continue,
        };
        this.#page.store.set(KEY + ticket, entry);
    }

    forget_all() {
        for (const [ticket] of this.#page.store.entries(KEY, {})) this.forget(ticket);
    }

    /** @param {string} ticket */
    forget(ticket) {
        this.#written.delete(ticket);
        this.#page.store.remove(KEY + ticket);
        this.#page.handles.remove(ticket);
    }
}

/** @param {Entry} entry */
function without_frontend({ name, size, last_modified, bytes_acked, last_activity, can_continue }) {
    return { name, size, last_modified, bytes_acked, last_activity, can_continue };
}
