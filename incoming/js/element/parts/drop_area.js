// Where files are chosen and dropped. Decides which are taken, by the attributes accept, max-size and max-files, shows
// which were refused, and adds the others to its queue.

import * as incoming from "../../index.js";
import { check_attributes, number_attribute } from "../checks/attributes.js";
import { h, set_text } from "./dom.js";
import { parse_size, within_limits } from "../checks/file_limits.js";
import { Part } from "./part.js";
import { warn_once } from "../checks/warnings.js";

/** @typedef {import("../../incoming.js").ChosenFile} ChosenFile */

const ATTRIBUTES = ["accept", "max-size", "max-files", "folders", "disabled"];

export class DropArea extends Part {
    static observedAttributes = ["lang", "accept", "max-files", "folders", "disabled"];
    #prompt = h("p", { part: "prompt" });
    #choose = h("button", { type: "button", part: "button choose", click: () => this.choose() });
    #choose_folder = h("button", { type: "button", part: "button choose-folder", click: () => this.#folder.click() });
    #files = h("input", { type: "file", hidden: true, change: () => this.take_input(this.#files) });
    #folder = h("input", { type: "file", hidden: true, webkitdirectory: true, change: () => this.take_input(this.#folder) });
    #problems = h("ul", { part: "problems", role: "list", hidden: true });
    #box = h("div", { part: "drop-area" }, this.#prompt, this.#choose, " ", this.#choose_folder, this.#files, this.#folder);
    /** @type {import("../checks/file_limits.js").Message[]} */
    #refused = [];

    constructor() {
        super();
        this.root.append(this.#box, this.#problems);
    }

    connectedCallback() {
        super.connectedCallback();
        check_attributes(this, ATTRIBUTES);
        for (const name of /** @type {const} */ (["dragover", "dragleave", "drop"])) window.addEventListener(name, this.#drag);
    }

    disconnectedCallback() {
        super.disconnectedCallback();
        for (const name of /** @type {const} */ (["dragover", "dragleave", "drop"])) window.removeEventListener(name, this.#drag);
    }

    attributeChangedCallback() {
        super.attributeChangedCallback();
        this.update_soon();
    }

    get #disabled() {
        return this.hasAttribute("disabled");
    }

    get #limits() {
        const [accept, size] = [this.getAttribute("accept") ?? "", this.getAttribute("max-size") ?? ""];
        const max_size = parse_size(size);
        if (max_size === null) warn_once(`max-size="${size}" is no size; write "500MB" or "2GiB"`);
        return { accept, max_size: max_size ?? 0, max_files: number_attribute(this, "max-files", 0) };
    }

    update() {
        const texts = this.texts;
        if (!texts) return;
        const { accept, max_files } = this.#limits;
        set_text(this.#prompt, texts.text("drop"));
        set_text(this.#choose, texts.text("choose"));
        set_text(this.#choose_folder, texts.text("choose_folder"));
        this.#files.accept = accept;
        this.#files.multiple = max_files !== 1;
        this.#choose_folder.hidden = !this.hasAttribute("folders") || max_files === 1;
        this.#choose.disabled = this.#choose_folder.disabled = this.#files.disabled = this.#disabled;
        this.#problems.hidden = this.#refused.length === 0;
        this.#problems.replaceChildren(...this.problem_texts.map((text) => h("li", {}, text)));
    }

    /** What was refused last, in words. */
    get problem_texts() {
        return this.#refused.map(([key, { size, ...others }]) => {
            const parameters = size === undefined ? others : { ...others, size: this.texts?.size(Number(size)) ?? "" };
            return this.texts?.text(key, parameters) ?? "";
        });
    }

    /** Opens the picker; where it gives handles, the uploads can be resumed after a reload. */
    async choose() {
        const picker = /** @type {any} */ (window).showOpenFilePicker;
        if (!picker || this.hasAttribute("accept")) return this.#files.click();
        try {
            /** @type {FileSystemFileHandle[]} */
            const handles = await picker.call(window, { multiple: this.#files.multiple });
            this.take(await Promise.all(handles.map(async (handle) => ({ file: await handle.getFile(), handle }))));
        } catch (error) {
            // A frame of another origin may not open it.
            if (/** @type {Error} */ (error).name !== "AbortError") this.#files.click();
        }
    }

    focus() {
        this.#choose.focus();
    }

    /** @param {any} input whose files were chosen; others are ignored */
    take_input(input) {
        if (!input.files?.length) return;
        this.take([...input.files].map((file) => ({ file })));
        input.value = ""; // the same file may be chosen again
    }

    /** A file that is dropped beside the area does nothing: without this the browser would leave the page to show it. */
    #drag = async (/** @type {DragEvent} */ event) => {
        const { type, dataTransfer } = event;
        const takes = !this.#disabled && event.composedPath().includes(this);
        this.#box.toggleAttribute("data-over", type === "dragover" && takes);
        if (type === "dragleave" || !dataTransfer?.types.includes("Files")) return;
        if (takes) dataTransfer.dropEffect = "copy";
        else if (!event.defaultPrevented) dataTransfer.dropEffect = "none";
        event.preventDefault();
        if (type !== "drop" || !takes) return;
        const { files, problems } = await incoming.files_of(dataTransfer);
        this.take(
            files,
            problems.map(({ path }) => ["unreadable", { name: path }]),
        );
    };

    /**
     * @param {readonly ChosenFile[]} files
     * @param {import("../checks/file_limits.js").Message[]} [unreadable]
     */
    take(files, unreadable = []) {
        const present = this.queue?.snapshot().uploads.filter((upload) => !upload.cancelled && !upload.failed).length ?? 0;
        const { taken, problems } = within_limits(files, present, this.#limits);
        this.#refused = [...unreadable, ...problems];
        if (taken.length) this.queue?.add(taken);
        this.dispatchEvent(new CustomEvent("incoming-chosen", { bubbles: true, composed: true, detail: { files: taken } }));
        this.update_soon();
    }
}
