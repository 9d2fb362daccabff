// <incoming-uploader>: the parts put together, as one control of a form. Decides the value, the validity, the events and the
// title; the queue decides how uploads run.

import * as incoming from "../index.js";
import { check_attributes, number_attribute } from "./checks/attributes.js";
import { h } from "./parts/dom.js";
import { show_in_title } from "./page_title.js";
import { Part } from "./parts/part.js";
import { ticket_request } from "./ticket_request.js";

/** @typedef {import("../incoming.js").Uploader} Uploader */
/** @typedef {import("../incoming.js").QueueSnapshot} QueueSnapshot */

const OF_DROP_AREA = ["accept", "max-size", "max-files", "folders", "disabled"];
const ATTRIBUTES = ["ticket-url", "server", "required", "concurrency", "no-title", "no-leave-warning", ...OF_DROP_AREA];
const ENDS = new Set(["finished", "cancelled", "failed"]);
const PARTS = "row, name, bar, status, buttons, button, retry, resume, pause, cancel, remove, clear, continue, list, total, " +
    "details, limit, figures, copy, report";
/** The element as the server serves it, perhaps under a version. */
const SERVED = /^(https?:\/\/[^?#]*\/incoming\/(?:[\d.]+\/)?frontend)\/(?:[0-9a-f]{16}\/)?incoming-uploader\.mjs/;

export class IncomingUploader extends Part {
    static formAssociated = true;
    static properties = ["queue", "get_ticket", "name"];
    static shadow = /** @type {ShadowRootInit} */ ({ mode: "open", delegatesFocus: true });
    static observedAttributes = ["lang", "required", ...OF_DROP_AREA];
    /** @type {import("../incoming.js").TicketFunction} may be replaced */
    get_ticket = ticket_request(() => this.getAttribute("ticket-url"));
    #internals = this.attachInternals();
    #drop_area = /** @type {import("./parts/drop_area.js").DropArea} */ (
        /** @type {HTMLElement} */ (h("incoming-drop-area", { exportparts: "drop-area, prompt, button, choose, choose-folder, problems" }))
    );
    #announcements = /** @type {import("./parts/announcements.js").Announcements} */ (
        /** @type {HTMLElement} */ (h("incoming-announcements"))
    );
    #parts = [
        this.#drop_area,
        h("incoming-total", { exportparts: PARTS }),
        h("incoming-list", { exportparts: PARTS }),
        h("incoming-unfinished", { exportparts: `unfinished, ${PARTS}` }),
        this.#announcements,
    ];
    #value = "";
    /** @type {WeakMap<Uploader, string>} the end for which an event was sent */
    #ended = new WeakMap();

    constructor() {
        super();
        this.root.append(...this.#parts);
        this.root.addEventListener("incoming-chosen", () => this.#announcements.announce(this.#drop_area.problem_texts));
        this.root.addEventListener("incoming-copied", () => this.#announcements.announce([this.texts?.text("copied") ?? ""]));
        this.root.addEventListener("incoming-choose", () => this.#drop_area.choose());
        this.root.addEventListener("incoming-emptied", () => this.#drop_area.focus());
        // A file input that the page has put inside; it is shown only until the element is defined.
        this.addEventListener("change", ({ target }) => this.#drop_area.take_input(target), true);
    }

    connectedCallback() {
        this.restore_early();
        check_attributes(this, ATTRIBUTES);
        this.#find_server();
        this.queue ??= this.#make_queue();
        super.connectedCallback();
    }

    disconnectedCallback() {
        super.disconnectedCallback();
        show_in_title(this, "");
    }

    attributeChangedCallback() {
        super.attributeChangedCallback();
        this.update_soon();
    }

    #find_server() {
        const given = this.getAttribute("server");
        const served = SERVED.exec(import.meta.url)?.[1];
        if (given) incoming.set_server_hostname(given);
        else if (served && new URL(incoming.server_url()).host === location.host) incoming.set_server_hostname(served);
    }

    #make_queue() {
        const concurrency = number_attribute(this, "concurrency", 3);
        const warn_on_leave = !this.hasAttribute("no-leave-warning");
        return incoming.Queue((file, context) => this.get_ticket(file, context), { concurrency, warn_on_leave });
    }

    follow_queue() {
        for (const part of this.#parts) /** @type {Part} */ (part).queue = this.queue;
        super.follow_queue();
    }

    // --- the control as page and form see it

    /** At once, not with the next frame: a page in the background has none. */
    changed() {
        const all = this.queue?.snapshot();
        if (!all) return;
        this.#set_value(all);
        this.#set_title(all);
        for (const upload of all.uploads) this.#dispatch_end(upload);
    }

    /** @type {readonly string[]} the tickets of the finished uploads */
    get value() {
        return this.#value.split(" ").filter(Boolean);
    }

    get name() {
        return this.getAttribute("name") ?? "";
    }

    /** React and Vue set it as a property because there is one. */
    set name(value) {
        this.setAttribute("name", value);
    }

    get form() {
        return this.#internals.form;
    }

    get validity() {
        return this.#internals.validity;
    }

    get validationMessage() {
        return this.#internals.validationMessage;
    }

    checkValidity() {
        return this.#internals.checkValidity();
    }

    reportValidity() {
        return this.#internals.reportValidity();
    }

    formResetCallback() {
        this.queue?.cancel();
        this.queue?.clear();
    }

    /** @param {boolean} disabled as of the fieldset */
    formDisabledCallback(disabled) {
        this.#drop_area.toggleAttribute("disabled", disabled);
    }

    /** @param {QueueSnapshot} all */
    #set_value(all) {
        const value = all.uploads.filter((upload) => upload.finished).map((upload) => upload.upload_id);
        this.#set_validity(all, value.length);
        if (value.join(" ") === this.#value) return;
        this.#value = value.join(" ");
        const data = new FormData();
        for (const ticket of value) data.append(this.name, ticket);
        this.#internals.setFormValue(this.name ? data : null);
        this.dispatchEvent(new Event("change", { bubbles: true }));
    }

    /**
     * @param {QueueSnapshot} all
     * @param {number} finished
     */
    #set_validity(all, finished) {
        const missing = this.hasAttribute("required") && finished === 0;
        const text = (/** @type {string} */ key) => this.texts?.text(key) ?? key;
        if (all.files_active > 0) this.#internals.setValidity({ customError: true }, text("please_wait"), this.#drop_area);
        else if (missing) this.#internals.setValidity({ valueMissing: true }, text("please_choose"), this.#drop_area);
        else this.#internals.setValidity({});
    }

    /** @param {QueueSnapshot} all */
    #set_title(all) {
        if (this.hasAttribute("no-title")) return;
        show_in_title(this, all.files_active > 0 && this.texts ? this.texts.percent(all.frac_complete) : "");
    }

    /** @param {Uploader} upload */
    #dispatch_end(upload) {
        const end = ENDS.has(upload.state) ? upload.state : "";
        if (end === (this.#ended.get(upload) ?? "")) return;
        this.#ended.set(upload, end);
        if (end) this.dispatchEvent(new CustomEvent(`incoming-${end}`, { bubbles: true, detail: { upload } }));
    }

    update() {
        for (const name of OF_DROP_AREA) {
            const value = this.getAttribute(name);
            if (name === "disabled") continue;
            if (value === null) this.#drop_area.removeAttribute(name);
            else this.#drop_area.setAttribute(name, value);
        }
        this.changed();
    }
}
