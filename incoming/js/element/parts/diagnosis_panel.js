// The details of an upload, which the user opens: what limits it, the figures, and a report to copy. The texts
// are those of diagnosis_text.js. A module of its own in the bundle: most users never open them.

import { complete, figures, limit_text, report } from "../texts/diagnosis_text.js";
import { h, set_text } from "./dom.js";

/** @typedef {import("../../incoming.js").Uploader} Uploader */
/** @typedef {import("../texts/translator.js").Translator} Translator */

export class DiagnosisPanel {
    #limit = h("p", { part: "limit" });
    #figures = h("dl", { part: "figures" });
    #copy = h("button", { type: "button", part: "button copy", id: "copy", "aria-labelledby": "copy name", click: () => this.#copy_report() });
    #report = h("textarea", { part: "report", readonly: true, hidden: true, rows: 6, dir: "ltr", "aria-labelledby": "copy name" });
    /** @type {Uploader | null} */
    #upload = null;
    #copied = false;
    #announce;
    nodes = [this.#limit, this.#figures, this.#copy, this.#report];

    /** @param {() => void} copied called when the report is in the clipboard */
    constructor(copied) {
        this.#announce = copied;
    }

    /**
     * @param {Uploader} upload
     * @param {Translator} texts
     */
    show(upload, texts) {
        this.#upload = upload;
        complete(texts);
        const diagnosis = upload.diagnosis();
        set_text(this.#limit, limit_text(diagnosis, texts));
        this.#limit.hidden = !diagnosis.limit && upload.failed;
        this.#show_figures(figures(diagnosis, texts).map(([key, value]) => [texts.text(key), value]));
        set_text(this.#copy, texts.text(this.#copied ? "copied" : "copy_report"));
    }

    /** The details are closed. */
    close() {
        this.#copied = false;
        this.#report.hidden = true;
    }

    /** @param {readonly string[][]} rows a name and a figure in each */
    #show_figures(rows) {
        const nodes = rows.flatMap(([name, value]) => [h("dt", {}, String(name)), h("dd", {}, String(value))]);
        nodes.forEach((node, i) => {
            const present = this.#figures.children[i];
            if (present) set_text(present, node.textContent ?? "");
            else this.#figures.append(node);
        });
        while (this.#figures.children.length > nodes.length) this.#figures.lastElementChild?.remove();
    }

    /** Where the page may not write to the clipboard, the text is shown and selected, which old browsers can copy. */
    async #copy_report() {
        if (!this.#upload) return;
        const text = report(this.#upload, { time: new Date(), browser: navigator.userAgent });
        try {
            await navigator.clipboard.writeText(text);
        } catch {
            this.#report.hidden = false;
            this.#report.value = text;
            this.#report.select();
            if (!document.execCommand("copy")) return;
        }
        this.#copied = true;
        this.#announce();
    }
}
