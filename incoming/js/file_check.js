// Whether the file is still there and still the same: the errors that only the browser can find.

import { FILE_CHANGED_WHILE_READING, FILE_UNREADABLE, fatal } from "./errors.js";
import { fingerprint } from "./fingerprint.js";

/** @typedef {import("./errors.js").Problem} Problem */

export class FileCheck {
    #file;
    #size;
    /** @type {number | undefined} */
    #last_modified;
    /** @type {string | null} */
    #fingerprint = null;

    /** @param {File} file */
    constructor(file) {
        this.#file = file;
        this.#size = file.size;
        this.#last_modified = file.lastModified;
    }

    /**
     * Reads the samples, again each time.
     * @returns {Promise<string>} the fingerprint; rejects with a Problem when the file cannot be read or has changed
     */
    async identity() {
        if (this.#file.size !== this.#size || this.#file.lastModified !== this.#last_modified) throw changed();
        let found;
        try {
            found = await fingerprint(this.#file);
        } catch (error) {
            throw unreadable(error);
        }
        this.#fingerprint ??= found;
        if (this.#fingerprint !== found) throw changed();
        return found;
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
