// Digests of a file's blocks, with which later reads are compared: they prove that all bytes that are sent were in the file
// at one moment. Decides what is read and compared, and when that is enough; does not decide what follows from a change.
//
// The moment is when every block that is still to be sent has been recorded. Blocks that were sent before it are read again
// after it, the others are compared when they are sent. So each block had the same content before and after the moment.
// Each is read twice, at any speed of the line, because blocks are recorded from the end of the file while they are sent
// from its beginning.

import { content_digest } from "./content_digest.js";
import { file_changed } from "./chosen_file.js";

/** @typedef {import("./chosen_file.js").ChosenFile} ChosenFile */
/** @typedef {import("../transport/messages.js").Range} Range */

const KIB = 1024;
const MIB = 1024 * KIB;
/** Files that are compared byte by byte in every browser. */
const SMALL = 64 * MIB;
const BLOCK = 256 * KIB;
/** Of a file that is compared byte by byte. Each takes 9 bytes of memory, so that a record has half a megabyte at most. */
const MOST_BLOCKS = 65_536;
/** Of a file of which samples are compared, one a block. */
const MOST_SAMPLES = 512;
const SAMPLED_BLOCK = 4 * MIB;
const SAMPLE = 32 * KIB;
/** Bytes that are read at a time. */
const READ = 4 * MIB;
const GOLDEN_RATIO = 0.6180339887498949;

const RECORDED = 1;
const SENT = 2;
const SEALED = 4;

export class ContentRecord {
    #file;
    #exact;
    #block;
    #offset;
    #digests;
    /** The state of each block: a sum of RECORDED, SENT, SEALED. */
    #states;

    /**
     * @param {ChosenFile} file
     * @param {boolean} exact whether all bytes are compared, or samples
     * @param {number} [chance] from 0 to 1: where the samples are
     */
    constructor(file, exact, chance = 0) {
        this.#file = file;
        this.#exact = exact;
        const [smallest, most] = exact ? [BLOCK, MOST_BLOCKS] : [SAMPLED_BLOCK, MOST_SAMPLES];
        this.#block = Math.max(smallest, Math.ceil(file.size / most / 4) * 4);
        this.#offset = chance;
        const count = Math.ceil(file.size / this.#block);
        this.#digests = new Float64Array(count);
        this.#states = new Uint8Array(count);
    }

    /**
     * Bytes to be sent: those that are recorded, or as a Blob where samples are compared.
     * @param {Range} range
     * @returns {Promise<Blob | Uint8Array<ArrayBuffer>>} rejected with a FileFault
     */
    async read([start, end]) {
        const [first, last] = this.#blocks([start, end]);
        // Now, and not when it has been read: the moment of the seal may be in between.
        for (let block = first; block < last; block++) this.#add(block, SENT);
        if (this.#exact) return this.#compared([start, end]);
        // Before the browser reads the rest: a change between the two is found by the next look.
        for (let block = first; block < last; block++) {
            const [from, to] = this.#sample(block);
            const within = from < end && to > start;
            if (within || !this.#is(block, RECORDED)) await this.#look(block, block + 1);
        }
        return this.#file.slice(start, end);
    }

    /**
     * @param {Range} range
     * @returns {Promise<Uint8Array<ArrayBuffer>>}
     */
    async #compared([start, end]) {
        const [first, last] = this.#blocks([start, end]);
        const cut = (/** @type {Uint8Array<ArrayBuffer>} */ bytes, /** @type {number} */ place) =>
            bytes.subarray(Math.max(0, start - place), end - place);
        if (last - first <= this.#at_once) return cut(await this.#look(first, last), first * this.#block);
        // A few at a time: digests of a long chunk would keep the page from everything else.
        const part = new Uint8Array(end - start);
        for (let block = first; block < last; block += this.#at_once) {
            const place = block * this.#block;
            const bytes = await this.#look(block, Math.min(last, block + this.#at_once));
            part.set(cut(bytes, place), Math.max(0, place - start));
        }
        return part;
    }

    /** How many blocks are read at a time. */
    get #at_once() {
        return this.#exact ? Math.max(1, Math.floor(READ / this.#block)) : 1;
    }

    /**
     * @param {Iterable<Range>} ranges
     * @returns {boolean} whether these bytes may be sent and the file then is of one moment
     */
    is_sealed(ranges) {
        for (const range of ranges) {
            const [first, last] = this.#blocks(range);
            for (let block = first; block < last; block++) if (!this.#is(block, SEALED)) return false;
        }
        return true;
    }

    /**
     * @param {Range[]} ranges all that is still to be sent
     * @param {() => boolean} wanted checked now and then: whether to continue
     * @returns {Promise<boolean>} whether it came to an end; rejected with a FileFault
     */
    async seal(ranges, wanted) {
        for (const range of [...ranges].reverse()) {
            const [first, last] = this.#blocks(range);
            if (!(await this.#look_at(first, last, (block) => !this.#is(block, RECORDED), wanted))) return false;
        }
        const before = this.#states.slice();
        const was = (/** @type {number} */ block, /** @type {number} */ flag) => has(before[block], flag);
        if (!(await this.#look_at(0, before.length, (block) => was(block, SENT), wanted))) return false;
        for (let block = 0; block < before.length; block++) if (was(block, RECORDED)) this.#add(block, SEALED);
        return true;
    }

    /**
     * Looks at some blocks, from the last to the first, several at a time where they are neighbours.
     * @param {number} first
     * @param {number} last
     * @param {(block: number) => boolean} chosen
     * @param {() => boolean} wanted
     */
    async #look_at(first, last, chosen, wanted) {
        const most = this.#at_once;
        for (let end = last; end > first; ) {
            let start = end;
            while (start > first && end - start < most && chosen(start - 1)) start--;
            if (start < end) {
                if (!wanted()) return false;
                await this.#look(start, end);
            }
            end = Math.min(start, end - 1);
        }
        return true;
    }

    /**
     * Reads blocks, records those that are new and compares the others.
     * @param {number} first
     * @param {number} last only one where samples are compared
     * @returns {Promise<Uint8Array<ArrayBuffer>>}
     */
    async #look(first, last) {
        const [start, end] = this.#exact ? [first * this.#block, this.#end_of(last - 1)] : this.#sample(first);
        const bytes = await this.#file.read(start, end);
        this.#compare(first, last, bytes);
        return bytes;
    }

    /**
     * Records what is new of a file that is compared byte by byte, and compares the rest. Throws a FileFault.
     * @param {Uint8Array<ArrayBuffer>} all its bytes
     */
    compare(all) {
        this.#compare(0, this.#states.length, all);
    }

    /**
     * @param {number} first
     * @param {number} last
     * @param {Uint8Array<ArrayBuffer>} bytes
     */
    #compare(first, last, bytes) {
        for (let block = first; block < last; block++) {
            const place = (block - first) * this.#block;
            const found = content_digest(bytes.subarray(place, place + this.#block));
            if (!this.#is(block, RECORDED)) this.#digests[block] = found;
            else if (this.#digests[block] !== found) throw file_changed();
            this.#add(block, RECORDED);
        }
    }

    /**
     * @param {number} block
     * @param {number} flag
     */
    #is(block, flag) {
        return has(this.#states[block], flag);
    }

    /**
     * @param {number} block
     * @param {number} flag
     */
    #add(block, flag) {
        this.#states[block] = (this.#states[block] ?? 0) | flag;
    }

    /**
     * @param {number} block
     * @returns {Range}
     */
    #sample(block) {
        const [start, end] = [block * this.#block, this.#end_of(block)];
        // Spread as evenly as possible, and never at the same place of each block, as content may repeat.
        const place = (this.#offset + block * GOLDEN_RATIO) % 1;
        const first = start + Math.floor(place * Math.max(0, end - start - SAMPLE));
        return [first, Math.min(end, first + SAMPLE)];
    }

    /** @param {number} block */
    #end_of(block) {
        return Math.min((block + 1) * this.#block, this.#file.size);
    }

    /**
     * @param {Range} range
     * @returns {[number, number]} the first block of it, and the one after its last
     */
    #blocks([start, end]) {
        return [Math.floor(start / this.#block), Math.ceil(end / this.#block)];
    }
}

/**
 * @param {number | undefined} state
 * @param {number} flag
 */
function has(state = 0, flag) {
    return (state & flag) !== 0;
}

/** @type {WeakMap<File, ContentRecord>} */
const records = new WeakMap();

/**
 * One record a File, whatever uploaders it is given to one after the other: browsers that hide a change of a file
 * keep hiding it.
 * @param {import("../page/environment.js").Environment} env
 * @param {File} file
 * @param {ChosenFile} chosen the same
 */
export function record_of(env, file, chosen) {
    let record = records.get(file);
    if (!record) {
        const hidden = chosen.chosen_at - chosen.last_modified < env.changes_hidden_for;
        const exact = hidden || chosen.size <= SMALL;
        records.set(file, (record = new ContentRecord(chosen, exact, env.random())));
    }
    return record;
}
