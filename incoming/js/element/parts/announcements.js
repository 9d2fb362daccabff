// The live region: what has happened to the uploads, for screen readers, politely. The announcer decides the lines.

import { Announcer } from "../texts/announcer.js";
import { h } from "./dom.js";
import { Part } from "./part.js";

const TICK = 1000;
/** Older lines are taken away, so that users who browse the page need not pass them. */
const LINES = 20;

export class Announcements extends Part {
    #announcer = new Announcer();
    #region = h("div", { role: "log", "aria-live": "polite", "aria-relevant": "additions" });
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;

    constructor() {
        super();
        this.root.append(this.#region);
    }

    disconnectedCallback() {
        super.disconnectedCallback();
        clearTimeout(this.#timer);
    }

    /** Not with the next frame: a page in the background has none, and announces all the same. */
    changed() {
        if (this.texts) this.update();
    }

    update() {
        const all = this.queue?.snapshot();
        if (!all || !this.texts) return;
        this.announce(this.#announcer.update(all, this.texts, performance.now()));
        clearTimeout(this.#timer);
        if (all.files_active > 0) this.#timer = setTimeout(() => this.update(), TICK);
    }

    /** @param {readonly string[]} lines */
    announce(lines) {
        this.#region.append(...lines.map((line) => h("p", {}, line)));
        while (this.#region.children.length > LINES) this.#region.firstElementChild?.remove();
    }
}
