// What the parts of the element have in common: a shadow root with the styles, the language of the place where they
// stand, and updates that come once a frame, when the queue or the language has changed. What is shown is theirs to decide.

import { language_of, translator } from "../texts/languages.js";
import { styles } from "./styles.js";

/** @typedef {import("../../incoming.js").Queue} Queue */
/** @typedef {import("../texts/translator.js").Translator} Translator */

// Where there is no page, on a server that renders one, the module can be imported all the same.
const Base = globalThis.HTMLElement ?? class {};

/** @type {Set<Part>} */
const connected = new Set();

/** The page has changed its language. */
function watch_language() {
    const changed = () => connected.forEach((part) => part.follow_language());
    new MutationObserver(changed).observe(document.documentElement, { attributes: true, attributeFilter: ["lang"] });
}

export class Part extends Base {
    /** @type {ShadowRootInit} */
    static shadow = { mode: "open" };
    static observedAttributes = ["lang"];
    /** @type {Queue | null} */
    #queue = null;
    /** @type {(() => void) | null} */
    #end = null;
    #due = false;
    /** @type {Translator | null} null until the language pack is there; nothing is shown before */
    texts = null;
    root = this.attachShadow(/** @type {typeof Part} */ (this.constructor).shadow);

    constructor() {
        super();
        this.root.adoptedStyleSheets = [styles()];
    }

    /** @type {Queue | null} the queue whose uploads are shown */
    get queue() {
        return this.#queue;
    }

    set queue(queue) {
        this.#queue = queue;
        this.follow_queue();
        this.update_soon();
    }

    connectedCallback() {
        if (!connected.size) watch_language_once();
        connected.add(this);
        this.follow_language();
        this.follow_queue();
    }

    disconnectedCallback() {
        connected.delete(this);
        this.#end?.();
        this.#end = null;
    }

    attributeChangedCallback() {
        if (this.isConnected) this.follow_language();
    }

    follow_queue() {
        this.#end?.();
        this.#end = this.isConnected && this.#queue ? this.#queue.subscribe(() => this.changed()) : null;
    }

    async follow_language() {
        const tag = language_of(this);
        const found = translator(tag);
        const texts = found instanceof Promise ? await found : found;
        if (tag !== language_of(this) || texts === this.texts) return;
        this.texts = texts;
        for (const child of this.root.children) /** @type {HTMLElement} */ (child).dir = texts.direction;
        this.update();
    }

    /** The queue has changed. */
    changed() {
        this.update_soon();
    }

    /** Many changes of one frame are shown once; a page that is hidden is not shown. */
    update_soon() {
        if (this.#due) return;
        this.#due = true;
        requestAnimationFrame(() => {
            this.#due = false;
            if (this.isConnected && this.texts) this.update();
        });
    }

    /** Shows what is so. Called with `texts` there. */
    update() {}
}

let watching = false;
function watch_language_once() {
    if (!watching) watch_language();
    watching = true;
}
