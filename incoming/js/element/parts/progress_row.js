// A name, a bar, a line of figures and buttons, each named after what the row is about: what the row of an upload and that
// of all files have in common. Those decide which buttons are shown.

import { h, set_parts, set_text } from "./dom.js";
import { Part } from "./part.js";

/** Milliseconds after which figures that change by themselves are refreshed. */
const TICK = 1000;

export class ProgressRow extends Part {
    #name = h("bdi", { part: "name", id: "name", tabindex: -1 });
    #line = h("div", { part: "status" });
    /** @type {Record<string, HTMLButtonElement>} */
    #buttons = {};
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;
    /** The name has the focus for want of a button. */
    #parked = false;
    bar = h("progress", { part: "bar", max: 1, "aria-labelledby": "name" });
    row = h("div", { part: "row" });

    /** @param {Record<string, () => unknown>} actions of the buttons, by the keys of their texts */
    add_buttons(actions) {
        for (const [id, act] of Object.entries(actions)) {
            const click = () => {
                act();
                this.update_soon();
            };
            // Read with the name of the file: there are many such buttons.
            const labels = { id, part: `button ${id}`, "aria-labelledby": `${id} name` };
            this.#buttons[id] = h("button", { type: "button", ...labels, click });
        }
        this.row.append(this.#name, h("div", { part: "buttons" }, ...Object.values(this.#buttons)), this.bar, this.#line);
        this.root.append(this.row);
    }

    disconnectedCallback() {
        super.disconnectedCallback();
        clearTimeout(this.#timer);
    }

    /**
     * @param {string} name
     * @param {number} fraction
     * @param {readonly string[]} parts of the line
     * @param {Record<string, string | false>} buttons the key of its text for each that is shown
     * @param {boolean} ticks whether the figures change by themselves
     */
    show(name, fraction, parts, buttons, ticks) {
        const focused = this.root.activeElement;
        set_text(this.#name, name);
        this.bar.value = fraction;
        set_parts(this.#line, parts);
        for (const [id, button] of Object.entries(this.#buttons)) {
            const key = buttons[id];
            button.hidden = !key;
            if (key) set_text(button, this.texts?.text(key) ?? "");
        }
        // The button that was pressed may be gone now; without any other the name keeps its place.
        if (focused && (!this.root.activeElement || (focused === this.#name && this.#parked))) this.focus_first();
        clearTimeout(this.#timer);
        if (ticks) this.#timer = setTimeout(() => this.update_soon(), TICK);
    }

    focus_first() {
        const button = Object.values(this.#buttons).find((one) => !one.hidden);
        this.#parked = !button;
        (button ?? this.#name).focus();
    }
}
