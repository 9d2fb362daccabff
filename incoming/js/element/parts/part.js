// What the parts of the element have in common: a shadow root with the styles, the language of the place where they
// stand, and updates that come once a frame, when the queue or the language has changed. Each decides what it shows.

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

/**
 * What a page, or a framework, has set before the element was defined is an own property, which would hide the class's.
 * @param {Part} part
 * @returns {Record<string, unknown>} those properties, which are taken away
 */
function take_early(part) {
    const { properties } = /** @type {typeof Part} */ (part.constructor);
    const own = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (part));
    const names = properties.filter((name) => Object.hasOwn(own, name));
    const taken = Object.fromEntries(names.map((name) => [name, own[name]]));
    for (const name of names) delete own[name];
    return taken;
}

export class Part extends Base {
    /** @type {readonly string[]} those that a page may set */
    static properties = ["queue"];
    /** Before any other: the class's own properties are not there yet. */
    #early = take_early(this);
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

    /** Gives the element what was set before it was defined. */
    restore_early() {
        Object.assign(this, this.#early);
        this.#early = {};
    }

    connectedCallback() {
        this.restore_early();
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

    /** Show the present state. Called only when `texts` is set. */
    update() {}
}

let watching = false;
function watch_language_once() {
    if (!watching) watch_language();
    watching = true;
}
