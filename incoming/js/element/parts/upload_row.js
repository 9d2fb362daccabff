// One upload: its name, how far it is, and what the user may do. Decides which buttons there are in which state.

import { warn_once } from "../checks/warnings.js";
import { h, set_text } from "./dom.js";
import { ProgressRow } from "./progress_row.js";
import { visible_name } from "../texts/file_name.js";
import { TROUBLE, row_parts } from "../texts/row_text.js";

/** @typedef {import("../../incoming.js").Uploader} Uploader */

const WITHOUT_DETAILS = new Set(["idle", "paused", "cancelling", "finished", "cancelled"]);
const TICKS = new Set(["transferring", "reconnecting", "waiting", "arrived"]);

export class UploadRow extends ProgressRow {
    static properties = ["queue", "upload"];
    /** @type {Uploader | null} */
    #upload = null;
    /** @type {(() => void) | null} */
    #end = null;
    #summary = h("summary", { id: "details", "aria-labelledby": "details name" });
    #details = h("details", { part: "details", toggle: () => this.#open() }, this.#summary);
    /** @type {import("./diagnosis_panel.js").DiagnosisPanel | null} */
    #panel = null;

    constructor() {
        super();
        const queued = (/** @type {"retry" | "remove"} */ name) => this.#upload && this.queue?.[name](this.#upload);
        this.add_buttons({
            retry: () => queued("retry"),
            resume: () => this.#upload?.start(),
            pause: () => this.#upload?.pause("pause"),
            cancel: () => this.#upload?.discard(),
            remove: () => queued("remove"),
        });
        this.row.append(this.#details);
    }

    /** @type {Uploader | null} */
    get upload() {
        return this.#upload;
    }

    set upload(upload) {
        this.#upload = upload;
        this.follow_queue();
        this.update_soon();
    }

    disconnectedCallback() {
        super.disconnectedCallback();
        this.#end?.();
    }

    /** It subscribes to its upload: the queue changes more often. */
    follow_queue() {
        this.#end?.();
        this.#end = this.isConnected && this.#upload ? this.#upload.subscribe(() => this.update_soon()) : null;
    }

    update() {
        const [upload, texts] = [this.#upload, this.texts];
        if (!upload || !texts) return;
        const { state, failed, finished, cancelled, paused } = upload;
        const queued = Boolean(this.queue?.is_queued(upload));
        const waits = upload.next_try_in !== null;
        const buttons = {
            retry: waits ? "retry_now" : failed && !queued && "retry",
            resume: paused && !queued && "resume",
            pause: upload.can_pause && "pause",
            cancel: (upload.can_cancel || paused) && !failed && "cancel",
            remove: (finished || cancelled || failed) && "remove",
        };
        this.bar.hidden = finished || cancelled;
        this.row.dataset.look = finished ? "done" : TROUBLE.has(state) || (failed && !queued) ? "trouble" : "";
        this.dataset.state = queued ? "queued" : state;
        this.#details.hidden = queued || WITHOUT_DETAILS.has(state);
        set_text(this.#summary, texts.text("details"));
        if (this.#details.open) this.#panel?.show(upload, texts);
        else this.#panel?.close();
        const shown = upload.bytes_total > 0 ? upload.bytes_received / upload.bytes_total : upload.frac_complete;
        this.show(visible_name(upload.path), shown, row_parts(upload, queued, texts), buttons, TICKS.has(state));
    }

    async #open() {
        try {
            const { DiagnosisPanel } = await import("./diagnosis_panel.js");
            if (!this.#panel) this.#details.append(...(this.#panel = new DiagnosisPanel(() => this.#copied())).nodes);
        } catch (error) {
            this.#details.open = false;
            warn_once(`the details of uploads cannot be loaded (${/** @type {Error} */ (error).message})`);
        }
        this.update_soon();
    }

    #copied() {
        this.update_soon();
        this.dispatchEvent(new CustomEvent("incoming-copied", { bubbles: true, composed: true }));
    }
}
