// What a screen reader is told of the uploads: start, quarters, trouble and end, once for each file and for the whole.
// Decides what is said and when; how it is said is the language pack's, where the live region's. Pure.

import { TROUBLE, state_text } from "./row_text.js";

/** @typedef {import("../../incoming.js").Uploader} Uploader */
/** @typedef {import("../../incoming.js").QueueSnapshot} QueueSnapshot */
/** @typedef {import("./translator.js").Translator} Translator */

/** @typedef {{started: boolean, quarter: number, trouble_since: number | null, troubled: boolean, ended: string}} Told */

/** Shorter trouble is over before it has been heard of. */
const TROUBLE_LASTS = 4_000;
/** With more files than this, start, quarters and a good end are told of the whole alone. */
const FEW = 5;
const ENDS = new Set(["finished", "cancelled", "failed"]);

export class Announcer {
    /** @type {WeakMap<Uploader, Told>} */
    #told = new WeakMap();
    #whole = { quarter: 0, ended: true };

    /**
     * @param {QueueSnapshot} all
     * @param {Translator} texts
     * @param {number} now milliseconds
     * @returns {string[]} what is new to be said
     */
    update(all, texts, now) {
        const few = all.uploads.length <= FEW;
        const said = all.uploads.flatMap((upload) =>
            this.#of_one(upload, few, texts, now).map((text) => texts.text("named", { name: upload.filename, text })),
        );
        if (all.uploads.length > 1) said.push(...this.#of_all(all, texts));
        return said;
    }

    /**
     * @param {Uploader} upload
     * @param {boolean} few whether start, quarters and a good end are told
     * @param {Translator} texts
     * @param {number} now
     */
    #of_one(upload, few, texts, now) {
        let told = this.#told.get(upload);
        if (!told) {
            told = { started: false, quarter: 0, trouble_since: null, troubled: false, ended: "" };
            this.#told.set(upload, told);
        }
        const { state } = upload;
        const said = this.#end(upload, told, few, texts);
        if (state === "transferring" && (!told.started || told.troubled)) {
            if (few || told.troubled) said.push(state_text(upload, texts));
            told.started = true;
        }
        const quarter = quarter_of(upload.frac_complete);
        if (quarter > told.quarter && few && state === "transferring") said.push(texts.percent(quarter / 4));
        told.quarter = Math.max(quarter, told.quarter);
        said.push(...this.#trouble(upload, told, texts, now));
        return said;
    }

    /**
     * @param {Uploader} upload
     * @param {Told} told
     * @param {boolean} few
     * @param {Translator} texts
     * @returns {string[]}
     */
    #end(upload, told, few, texts) {
        const ended = ENDS.has(upload.state) ? upload.state : "";
        if (ended === told.ended) return [];
        told.ended = ended;
        if (!ended) told.started = false;
        return ended && (few || !upload.finished) ? [state_text(upload, texts)] : [];
    }

    /**
     * @param {Uploader} upload
     * @param {Told} told
     * @param {Translator} texts
     * @param {number} now
     * @returns {string[]}
     */
    #trouble(upload, told, texts, now) {
        if (!TROUBLE.has(upload.state)) {
            told.trouble_since = null;
            // The attempt that ends the trouble may take a while.
            if (upload.state !== "connecting" && upload.state !== "requesting_ticket") told.troubled = false;
            return [];
        }
        told.trouble_since ??= now;
        if (told.troubled || now - told.trouble_since < TROUBLE_LASTS) return [];
        told.troubled = true;
        const text = state_text(upload, texts);
        return [upload.frac_complete === 1 ? text : `${text}. ${texts.text("nothing_lost")}`];
    }

    /**
     * @param {QueueSnapshot} all
     * @param {Translator} texts
     * @returns {string[]}
     */
    #of_all(all, texts) {
        const whole = this.#whole;
        const ended = all.files_active === 0;
        const before = whole.ended;
        whole.ended = ended;
        if (ended) {
            whole.quarter = 0;
            const done = texts.text("files_done", { done: all.files_finished, count: all.files_total });
            return before ? [] : [done];
        }
        const quarter = quarter_of(all.frac_complete);
        if (quarter <= whole.quarter) return [];
        whole.quarter = quarter;
        return [texts.text("named", { name: texts.text("all_files"), text: texts.percent(quarter / 4) })];
    }
}

/**
 * @param {number} fraction
 * @returns {number} full quarters; the end is no quarter but an end
 */
function quarter_of(fraction) {
    return Math.min(3, Math.floor(fraction * 4));
}
