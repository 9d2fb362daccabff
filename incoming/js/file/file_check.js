// Whether the file is still there and still the same: looks at it before each connection, from time to time while it is
// sent, with every chunk, and before its last bytes go. Decides when to look; content_record.js decides what is compared.

import { ChosenFile, FileFault, file_changed } from "./chosen_file.js";
import { record_of } from "./content_record.js";
import { SAMPLED_WHOLE, fingerprint } from "./fingerprint.js";

/** @typedef {import("../transport/errors.js").Problem} Problem */
/** @typedef {import("../transport/messages.js").Range} Range */

/** Milliseconds after which the samples of the fingerprint are read again while chunks are sent. */
const LOOK_AGAIN_AFTER = 5_000;
/** Bytes of a file up to which all of it is read at once: each read of a part takes a browser as long as one of these. */
const READ_WHOLE = 2 * 1024 * 1024;
/** Characters of a name in a URL; some proxies refuse URLs of more than 4,000 with all that else is in them. */
const LONGEST_NAME = 2_000;

/**
 * @typedef {object} Owner
 * @property {() => boolean} wanted whether the upload still runs
 * @property {(problem: Problem | null) => void} done with why the file cannot be completed
 */

/** @typedef {import("../transport/connection.js").Source} Source */

/** @implements {Source} */
export class FileCheck {
    #env;
    #file;
    #record;
    #fingerprint = "";
    #looked = 0;
    #sealing = false;
    /** Whether all of the file, if it is small, will be sent at once behind the next `confirm`. */
    #at_once = false;
    /** @type {Uint8Array<ArrayBuffer> | null} all bytes of a file that will be sent at once, as they were read before */
    #all = null;
    /** @type {Problem | null} with which the last read failed */
    #found = null;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {File} file
     * @param {import("./shown_file.js").ShownFile} [shown] when it was chosen
     */
    constructor(env, file, shown) {
        this.#env = env;
        this.#file = new ChosenFile(env, file, shown);
        this.#record = record_of(env, file, this.#file);
    }

    /** What the server gets to recognise the file; after `confirm`. */
    get identity() {
        const { name, size, last_modified, media_type } = this.#file;
        const known = Number.isSafeInteger(last_modified) && last_modified >= 0;
        return {
            name,
            size,
            last_modified: known ? last_modified : undefined,
            fingerprint: this.#fingerprint,
            media_type: media_type || undefined,
        };
    }

    /**
     * Reads the samples of the fingerprint, or all of a small file, again each time.
     * @returns {Promise<Problem | null>} why the file cannot be uploaded
     */
    async confirm() {
        const problem = await problem_of(this.#confirm());
        if (!problem) this.#found = null;
        return problem;
    }

    async #confirm() {
        this.#looked = this.#env.now();
        const { size } = this.#file;
        const all = size <= READ_WHOLE ? await this.#file.read(0, size) : null;
        const found = await fingerprint(all ? in_memory(all) : this.#file, this.#env.crypto);
        this.#fingerprint ||= found;
        if (this.#file.looks_changed || this.#fingerprint !== found) throw file_changed();
        if (all && !this.#at_once) this.#record.compare(all);
        if (this.#at_once) this.#all = all;
    }

    /**
     * All of the file is to be sent at once, by `whole`, behind the next `confirm`.
     * @returns {boolean} whether it is small enough, so that its fingerprint is of all its bytes, and its name fits a URL
     */
    expect_whole() {
        const { name, size } = this.#file;
        const fits = encodeURIComponent(JSON.stringify(name)).length <= LONGEST_NAME;
        return (this.#at_once = fits && size > 0 && size <= SAMPLED_WHOLE);
    }

    /**
     * All bytes, after `expect_whole` and `confirm`. They were read twice and found equal, so that the file had them at the
     * moment between the two.
     * @returns {Promise<Uint8Array<ArrayBuffer>>} rejected when the file is not what it was
     */
    async whole() {
        const before = this.#all;
        this.#at_once = false;
        this.#all = null;
        const now = await this.#file.read(0, this.#file.size);
        if (this.#file.looks_changed || !before?.every((byte, i) => byte === now[i])) throw file_changed();
        return now;
    }

    /**
     * The bytes of a chunk, to be sent.
     * @param {Range} chunk
     * @returns {Promise<Blob | Uint8Array<ArrayBuffer>>} rejected when the file is not what it was: `doubt` returns why
     */
    async read(chunk) {
        try {
            if (this.#env.now() - this.#looked > LOOK_AGAIN_AFTER) await this.#confirm();
            return await this.#record.read(chunk);
        } catch (error) {
            if (error instanceof FileFault) this.#found = error.problem;
            throw error;
        }
    }

    /**
     * A file that was changed meanwhile must not become complete: it would be half the old one and half the new.
     * @param {Range[]} ranges all that has not arrived
     * @param {Owner} owner
     * @returns {boolean} whether the last bytes may be sent; otherwise `owner.done` is called when that is known
     */
    seal(ranges, owner) {
        if (this.#record.is_sealed(ranges)) return true;
        if (!this.#sealing) this.#seal(ranges, owner);
        return false;
    }

    /**
     * @param {Range[]} ranges
     * @param {Owner} owner
     */
    async #seal(ranges, { wanted, done }) {
        this.#sealing = true;
        let whole = true;
        const seal = async () => {
            whole = await this.#record.seal(ranges, wanted);
            // Of what an earlier page has sent there is no record.
            if (whole && bytes_of(ranges) < this.#file.size) await this.#confirm();
        };
        const problem = await problem_of(seal());
        this.#sealing = false;
        if (whole) done(problem);
    }

    /**
     * A connection failed, or stands, while these bytes were being sent: is it the file?
     * @param {Range} chunk
     * @returns {Promise<Problem | null>}
     */
    async doubt([start]) {
        return this.#found ?? problem_of(this.#file.read(start, start + 1));
    }
}

/** @param {Range[]} ranges */
function bytes_of(ranges) {
    return ranges.reduce((sum, [start, end]) => sum + end - start, 0);
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
function in_memory(bytes) {
    return { size: bytes.length, read: async (/** @type {number} */ start, /** @type {number} */ end) => bytes.subarray(start, end) };
}

/**
 * @param {Promise<unknown>} reading
 * @returns {Promise<Problem | null>}
 */
async function problem_of(reading) {
    try {
        await reading;
        return null;
    } catch (error) {
        if (error instanceof FileFault) return error.problem;
        throw error;
    }
}
