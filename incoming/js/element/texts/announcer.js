// The announcements for screen readers: start, quarters, trouble and end, once for each file and for the whole. Decides
// which and when; the words are the language pack's. Pure.

import { TROUBLE, state_text } from "./row_text.js";
import { visible_name } from "./file_name.js";

/** @typedef {import("../../incoming.js").Uploader} Uploader */
/** @typedef {import("../../incoming.js").QueueSnapshot} QueueSnapshot */
/** @typedef {import("./translator.js").Translator} Translator */

/** @typedef {{started: boolean, quarter: number, trouble_since: number | null, troubled: boolean, ended: string}} Announced */

/** Milliseconds. Shorter trouble is not announced. */
const TROUBLE_LASTS = 4_000;
/** With more files than this, start, quarters and a good end are announced for the whole only. */
const FEW = 5;
const ENDS = new Set(["finished", "cancelled", "failed"]);

export class Announcer {
    /** @type {WeakMap<Uploader, Announced>} */
    #announced = new WeakMap();
    #whole = { quarter: 0, ended: true };

    /**
     * @param {QueueSnapshot} all
     * @param {Translator} texts
     * @param {number} now milliseconds
     * @returns {string[]} the lines to announce now
     */
    update(all, texts, now) {
        const few = all.uploads.length <= FEW;
        const lines = all.uploads.flatMap((upload) =>
            this.#of_one(upload, few, texts, now).map((text) => texts.text("named", { name: visible_name(upload.filename), text })),
        );
        if (all.uploads.length > 1) lines.push(...this.#of_all(all, texts));
        return lines;
    }

    /**
     * @param {Uploader} upload
     * @param {boolean} few whether start, quarters and a good end are announced
     * @param {Translator} texts
     * @param {number} now
     */
    #of_one(upload, few, texts, now) {
        let announced = this.#announced.get(upload);
        if (!announced) {
            announced = { started: false, quarter: 0, trouble_since: null, troubled: false, ended: "" };
            this.#announced.set(upload, announced);
        }
        const { state } = upload;
        const lines = this.#end(upload, announced, few, texts);
        if (state === "transferring" && (!announced.started || announced.troubled)) {
            if (few || announced.troubled) lines.push(state_text(upload, texts));
            announced.started = true;
        }
        const quarter = quarter_of(upload.frac_complete);
        if (quarter > announced.quarter && few && state === "transferring") lines.push(texts.percent(quarter / 4));
        announced.quarter = Math.max(quarter, announced.quarter);
        lines.push(...this.#trouble(upload, announced, texts, now));
        return lines;
    }

    /**
     * @param {Uploader} upload
     * @param {Announced} announced
     * @param {boolean} few
     * @param {Translator} texts
     * @returns {string[]}
     */
    #end(upload, announced, few, texts) {
        const ended = ENDS.has(upload.state) ? upload.state : "";
        if (ended === announced.ended) return [];
        announced.ended = ended;
        if (!ended) announced.started = false;
        return ended && (few || !upload.finished) ? [state_text(upload, texts)] : [];
    }

    /**
     * @param {Uploader} upload
     * @param {Announced} announced
     * @param {Translator} texts
     * @param {number} now
     * @returns {string[]}
     */
    #trouble(upload, announced, texts, now) {
        if (!TROUBLE.has(upload.state)) {
            announced.trouble_since = null;
            // The attempt that ends the trouble may take a while.
            if (upload.state !== "connecting" && upload.state !== "requesting_ticket") announced.troubled = false;
            return [];
        }
        announced.trouble_since ??= now;
        if (announced.troubled || now - announced.trouble_since < TROUBLE_LASTS) return [];
        announced.troubled = true;
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
