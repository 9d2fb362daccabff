// Whether the file is still there and still the same: the errors that only the browser can find.

import { FILE_CHANGED_WHILE_READING, FILE_UNREADABLE, fatal } from "../transport/errors.js";
import { fingerprint } from "./fingerprint.js";

/** @typedef {import("../transport/errors.js").Problem} Problem */

/** Reading the samples again so soon would find nothing new. */
const FRESH = 2_000;

export class FileCheck {
    #env;
    #file;
    #size;
    #last_modified;
    #fingerprint = "";
    #confirming = false;
    #checked = 0;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {File} file
     */
    constructor(env, file) {
        this.#env = env;
        this.#file = file;
        this.#size = file.size;
        this.#last_modified = file.lastModified;
    }

    /** What the server is told, by which it knows the file again; after `confirm`. */
    get identity() {
        const known = Number.isSafeInteger(this.#last_modified) && this.#last_modified >= 0;
        return {
            name: this.#file.name,
            size: this.#size,
            last_modified: known ? this.#last_modified : undefined,
            fingerprint: this.#fingerprint,
            media_type: this.#file.type || undefined,
        };
    }

    /**
     * A file that was changed meanwhile must not become complete: it would be half the old one and half the new.
     * @param {(problem: Problem | null) => void} done called with why it cannot be uploaded, when that is known
     * @returns {boolean} whether the file was found in order a moment ago; otherwise it is looked at now
     */
    confirmed(done) {
        if (this.fresh) return true;
        if (!this.#confirming) this.#confirm_for(done);
        return false;
    }

    /** @param {(problem: Problem | null) => void} done */
    async #confirm_for(done) {
        this.#confirming = true;
        const problem = await this.confirm();
        this.#confirming = false;
        done(problem);
    }

    /** Whether the file was found in order a moment ago. */
    get fresh() {
        return this.#fingerprint !== "" && this.#env.now() - this.#checked < FRESH;
    }

    /**
     * Reads the samples, again each time.
     * @returns {Promise<Problem | null>} why the file cannot be uploaded
     */
    async confirm() {
        if (this.#file.size !== this.#size || this.#file.lastModified !== this.#last_modified) return changed();
        let found;
        try {
            found = await fingerprint(this.#file, this.#env.crypto);
        } catch (error) {
            return unreadable(error);
        }
        this.#fingerprint ||= found;
        this.#checked = this.#env.now();
        return this.#fingerprint === found ? null : changed();
    }

    /**
     * A connection failed while these bytes were being sent: was it the file?
     * @param {[number, number]} chunk
     * @returns {Promise<Problem | null>}
     */
    async doubt([start]) {
        try {
            await this.#file.slice(start, start + 1).arrayBuffer();
            return null;
        } catch (error) {
            return unreadable(error);
        }
    }
}

function changed() {
    return fatal(FILE_CHANGED_WHILE_READING, "the file was changed while it was being uploaded");
}

/**
 * Browsers say NotFoundError for a file that is gone and NotReadableError for one that is not as it was when it was
 * chosen, or that they may not read any more.
 * @param {unknown} error
 */
function unreadable(error) {
    const name = error instanceof Error || error instanceof DOMException ? error.name : "";
    if (name === "NotReadableError") {
        return fatal(FILE_CHANGED_WHILE_READING, "the file was changed since it was chosen, or cannot be read any more");
    }
    return fatal(FILE_UNREADABLE, "the file cannot be read; it may have been moved or deleted");
}
