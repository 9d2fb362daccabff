// The file that the user chose, and the one place that reads it: what is read is complete; browsers' errors are
// translated into "gone" or "changed". Does not decide when the file is read.

import { shown_file } from "./shown_file.js";
import { FILE_CHANGED_WHILE_READING, FILE_UNREADABLE, fatal } from "../transport/errors.js";

/** @typedef {import("../transport/errors.js").Problem} Problem */

/** Milliseconds in which a date that is only the present time has moved on. */
const DATE_MOVES_WITHIN = 20;
/** How often a file is looked at that may be gone, and may be one that is still being written. */
const LOOKS = 10;

/** The file is not what it was. */
export class FileFault extends Error {
    /** @param {Problem} problem */
    constructor(problem) {
        super(problem.message);
        this.problem = problem;
    }
}

/** @returns {FileFault} */
export function file_changed() {
    return new FileFault(fatal(FILE_CHANGED_WHILE_READING, "the file was changed since it was chosen"));
}

function file_gone() {
    return new FileFault(fatal(FILE_UNREADABLE, "the file cannot be read; it may have been moved or deleted"));
}

export class ChosenFile {
    #env;
    #file;
    name;
    size;
    last_modified;
    media_type;
    /** Milliseconds since the epoch. */
    chosen_at;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {File} file
     * @param {import("./shown_file.js").ShownFile} [shown] when it was chosen
     */
    constructor(env, file, shown = shown_file(env, file)) {
        this.#env = env;
        this.#file = file;
        this.name = shown.name;
        this.size = shown.size;
        this.last_modified = shown.last_modified;
        this.media_type = shown.media_type;
        this.chosen_at = shown.at;
    }

    /** Whether the browser shows another size or date by now; some never look again. */
    get looks_changed() {
        return this.#file.size !== this.size || this.#file.lastModified !== this.last_modified;
    }

    /**
     * @param {number} start
     * @param {number} end
     * @returns {Blob} that the browser reads on its own
     */
    slice(start, end) {
        return this.#file.slice(start, end);
    }

    /**
     * @param {number} start
     * @param {number} end
     * @returns {Promise<Uint8Array<ArrayBuffer>>} rejected with a FileFault
     */
    async read(start, end) {
        let bytes;
        try {
            bytes = new Uint8Array(await this.#file.slice(start, end).arrayBuffer());
        } catch (error) {
            throw await this.#fault(error);
        }
        // Firefox raises no error for a file that has become shorter.
        if (bytes.length !== end - start) throw file_changed();
        return bytes;
    }

    /**
     * For a changed file Chromium raises NotReadableError; WebKit raises NotFoundError, as for one that is gone, and shows the
     * date of the new one: for one that is gone it shows the present time. A date that moves may also be of a file that is
     * being written. One whose date has been set back to the old one can be read again.
     * @param {unknown} error
     */
    async #fault(error) {
        const name = error instanceof Error || error instanceof DOMException ? error.name : "";
        if (name === "NotReadableError") return file_changed();
        if (name !== "NotFoundError") return file_gone();
        for (let looks = 0; looks < LOOKS; looks++) {
            const date = this.#file.lastModified;
            if (date === this.last_modified) return (await this.#is_readable()) ? file_changed() : file_gone();
            await new Promise((resolve) => void this.#env.after(DATE_MOVES_WITHIN, () => resolve(null)));
            if (this.#file.lastModified === date) return file_changed();
        }
        return file_gone();
    }

    async #is_readable() {
        try {
            await this.#file.slice(0, 1).arrayBuffer();
            return true;
        } catch {
            return false;
        }
    }
}
