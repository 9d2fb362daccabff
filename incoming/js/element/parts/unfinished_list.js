// The unfinished uploads of earlier visits in this browser, and how each can be resumed.

import * as incoming from "../../index.js";
import { h, set_parts } from "./dom.js";
import { Part } from "./part.js";
import { visible_name } from "../texts/file_name.js";

/** @typedef {import("../../incoming.js").UnfinishedUpload} UnfinishedUpload */

export class UnfinishedList extends Part {
    #heading = h("h2", { id: "heading" });
    #hint = h("p", { part: "status" });
    #list = h("ul", { role: "list", part: "list", "aria-labelledby": "heading" });
    #section = h("section", { part: "unfinished", "aria-labelledby": "heading", hidden: true }, this.#heading, this.#hint, this.#list);
    #shown = "";

    constructor() {
        super();
        this.root.append(this.#section);
    }

    update() {
        const texts = this.texts;
        if (!texts) return;
        const present = new Set(this.queue?.snapshot().uploads.map((upload) => upload.upload_id));
        const found = incoming.unfinished().filter(({ ticket }) => !present.has(ticket));
        const shown = texts.language + JSON.stringify(found);
        if (shown === this.#shown) return;
        this.#shown = shown;
        this.#section.hidden = found.length === 0;
        this.#heading.textContent = texts.text("unfinished");
        this.#hint.textContent = texts.text("choose_again");
        this.#hint.hidden = found.every((one) => one.can_continue);
        this.#list.replaceChildren(...found.map((one, number) => this.#item(one, number)));
    }

    /**
     * @param {UnfinishedUpload} one
     * @param {number} number
     */
    #item(one, number) {
        const { ticket, name, size, bytes_acked, can_continue } = one;
        const line = h("div", { part: "status" });
        const arrived = this.texts?.text("arrived_part", { percent: this.texts.percent(size ? bytes_acked / size : 0) }) ?? "";
        set_parts(line, [arrived, this.texts?.size(size) ?? ""]);
        const buttons = h("div", { part: "buttons" });
        if (can_continue) buttons.append(this.#button("continue", number, () => this.#continue(ticket)));
        const forget = () => {
            incoming.forget(ticket);
            this.update_soon();
        };
        buttons.append(this.#button("remove", number, forget));
        const label = h("bdi", { part: "name", id: `name${number}` }, visible_name(name));
        return h("li", {}, h("div", { part: "row" }, label, buttons, line));
    }

    /**
     * @param {string} key
     * @param {number} number
     * @param {() => void} click
     */
    #button(key, number, click) {
        const id = `${key}${number}`;
        const labels = { id, "aria-labelledby": `${id} name${number}` };
        return h("button", { type: "button", part: `button ${key}`, ...labels, click }, this.texts?.text(key) ?? "");
    }

    /** @param {string} ticket */
    async #continue(ticket) {
        try {
            const upload = await incoming.continue_upload(ticket);
            if (this.queue) this.queue.adopt(upload);
            else upload.start();
        } catch {
            // The user has refused, or the file is gone: choosing it again is the other way.
            this.dispatchEvent(new CustomEvent("incoming-choose", { bubbles: true, composed: true }));
        }
    }
}
