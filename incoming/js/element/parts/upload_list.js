// The uploads of a queue, a row for each, in the order in which they were added.

import { h } from "./dom.js";
import { Part } from "./part.js";
import { UploadRow } from "./upload_row.js";

/** @typedef {import("../../incoming.js").Uploader} Uploader */

const PARTS = "row, name, bar, status, buttons, button, retry, resume, pause, cancel, remove, details, limit, figures, copy, report";

export class UploadList extends Part {
    /** @type {Map<Uploader, HTMLLIElement>} */
    #items = new Map();
    #list = h("ul", { role: "list", part: "list", tabindex: -1 });

    constructor() {
        super();
        this.root.append(this.#list);
    }

    update() {
        const uploads = this.queue?.snapshot().uploads ?? [];
        this.#list.ariaLabel = this.texts?.text("uploads") ?? "";
        this.#list.hidden = uploads.length === 0;
        const present = new Set(uploads);
        for (const [upload, item] of this.#items) if (!present.has(upload)) this.#remove(upload, item);
        for (const upload of uploads) if (!this.#items.has(upload)) this.#add(upload);
    }

    /** @param {Uploader} upload */
    #add(upload) {
        const row = /** @type {UploadRow} */ (document.createElement("incoming-row"));
        row.setAttribute("exportparts", PARTS);
        row.queue = this.queue;
        row.upload = upload;
        const item = h("li", {}, row);
        this.#items.set(upload, item);
        this.#list.append(item);
    }

    /**
     * @param {Uploader} upload
     * @param {HTMLLIElement} item
     */
    #remove(upload, item) {
        const had_focus = item.contains(this.root.activeElement);
        const next = item.nextElementSibling ?? item.previousElementSibling;
        item.remove();
        this.#items.delete(upload);
        if (!had_focus) return;
        const row = /** @type {UploadRow | null | undefined} */ (next?.firstElementChild);
        if (row) row.focus_first();
        else this.dispatchEvent(new CustomEvent("incoming-emptied", { bubbles: true, composed: true }));
    }
}
