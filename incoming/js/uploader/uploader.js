// One upload as the page sees it: its properties, flags, callbacks and the three things that the user may do. How the
// bytes get to the server is the session's business.

import { HANDOVER_FAILED, TAKEN_OVER, TICKET_IS_OVER, bad_argument, fatal } from "../transport/errors.js";
import { base_name, require_file } from "./file_argument.js";
import { FileCheck } from "./file_check.js";
import { observe } from "./public_state.js";
import { Notifier } from "./notifier.js";
import { next_phase } from "./state_machine.js";
import { Session } from "../session/session.js";

/** @typedef {import("./state_machine.js").Event} Event */
/** @typedef {import("../transport/messages.js").Outcome} Outcome */
/** @typedef {import("../transport/errors.js").Problem} Problem */
/** @typedef {import("../incoming.js").UploaderCallback} Callback */

/** @type {Set<import("./state_machine.js").Phase>} */
const RUNNING = new Set(["connecting", "transferring", "waiting", "handing_over", "cancelling"]);

export class Uploader {
    /** @type {Callback} */
    onprogress = null;
    /** @type {Callback} */
    onfinished = null;
    /** @type {Callback} */
    onfinish = null;
    /** @type {Callback} */
    oncancelled = null;
    /** @type {Callback} */
    onerror = null;

    /** Bytes a second that the upload is held to, 0 for no limit; may be set at any time. */
    max_rate = 0;
    /** Whether the browser asks before the page is left while this upload runs; may be set at any time. */
    warn_on_leave = false;

    upload_id;
    filename;
    bytes_total;
    bytes_tx = 0;
    bytes_acked = 0;
    bytes_ahead = 0;
    frac_complete = 0;
    chunks_tx_now = 0;
    chunks_acked_now = 0;
    chunks_ahead = 0;
    state_msg = "not yet started";
    cancel_msg = "";
    /** @type {number | null} */
    error_code = null;
    error_msg = "";
    connected = false;
    finished = false;
    paused = false;
    can_pause = false;
    cancelling = false;
    cancelled = false;
    can_cancel = true;
    /** @type {"websocket" | "http" | ""} */
    transport = "";

    #page;
    #session;
    #seen;
    #notifier;
    /** @type {import("./state_machine.js").Phase} */
    #phase = "idle";
    /** @type {import("../transport/messages.js").State} */
    #server_state = "new";
    #reason = "";
    #trouble = "";
    /** @type {Problem | null} */
    #problem = null;
    #file;
    #handle;
    #can_continue = false;
    /** @type {import("../page/page_context.js").Upload} */
    #presence = {
        ticket: "",
        superseded: () => this.#superseded(),
        revive: (doubtful) => this.#session.revive(doubtful),
        remember: () => this.#remember(true),
        warns: () => this.warn_on_leave,
    };

    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {string} upload_id
     * @param {File} file
     * @param {{handle?: FileSystemFileHandle | null}} [options]
     */
    constructor(page, upload_id, file, { handle = null } = {}) {
        if (typeof upload_id !== "string" || !upload_id) throw bad_argument("the first argument is an upload id");
        require_file(file);
        this.upload_id = this.#presence.ticket = upload_id;
        this.filename = base_name(file.name);
        this.bytes_total = file.size;
        this.#page = page;
        this.#file = file;
        this.#handle = handle;
        this.#session = new Session(page, upload_id, file, new FileCheck(page.env, file), () => this.max_rate, {
            changed: () => this.#follow(),
            told: (outcome) => this.#told(outcome),
            failed: (problem) => this.#fail(problem),
            unanswered: () => this.#cancel_offline(),
        });
        this.#seen = observe(this.#facts());
        this.#notifier = new Notifier(this, page.env, () => {
            const { filename, bytes_total } = this;
            return { upload_id, filename, bytes_total, ...this.#seen };
        });
        this.#bind();
    }

    /** A frozen copy of all properties and flags: the same object until one of them has changed. */
    snapshot() {
        return this.#notifier.snapshots.latest;
    }

    /**
     * @param {(snapshot: import("../incoming.js").UploaderSnapshot) => void} listener called at once and after each change
     * @returns {() => void} ends that
     */
    subscribe(listener) {
        if (typeof listener !== "function") throw bad_argument("subscribe() takes a function");
        return this.#notifier.snapshots.subscribe(listener);
    }

    /**
     * Start the upload, resume it after a pause, or retry it after an error. Nothing happens while it runs or when it
     * has ended.
     */
    start() {
        if (!this.#move("start")) return this;
        this.#problem = null;
        this.#page.claim(this.#presence);
        this.#session.start();
        this.#keep_handle();
        return this.#publish();
    }

    /**
     * Nothing happens where `can_pause` is false, or to 'unpause' what is not paused.
     * @param {"pause" | "unpause" | "toggle"} what
     */
    pause(what) {
        if (!["pause", "unpause", "toggle"].includes(what)) throw bad_argument("pause() takes 'pause', 'unpause' or 'toggle'");
        if (this.paused) return what === "pause" ? this : this.start();
        if (what === "unpause" || !this.can_pause || !this.#move("pause")) return this;
        this.#session.pause();
        return this.#publish();
    }

    /**
     * Nothing happens where `can_cancel` is false.
     * @param {string} [reason]
     */
    cancel(reason = "") {
        if (!this.can_cancel) return this;
        this.#reason = String(reason);
        if (this.#session.connected && this.#move("cancel")) this.#session.cancel(this.#reason);
        else this.#cancel_offline();
        return this.#publish();
    }

    /**
     * Reactive frameworks put a Proxy around objects, which has no private members: called through one, a function of the
     * prototype could not reach them.
     */
    #bind() {
        for (const name of /** @type {const} */ (["start", "pause", "cancel", "snapshot", "subscribe"])) {
            Object.defineProperty(this, name, { value: this[name].bind(this), configurable: true, writable: true });
        }
    }

    #cancel_offline() {
        this.#session.stop();
        if (this.#move("drop")) this.#page.outbox.cancel(this.upload_id, this.#reason);
        this.#publish();
    }

    #follow() {
        if (!this.#session.connected) this.#move("lose");
        else if (this.#session.scheduler.complete) this.#move("arrive");
        this.#publish();
    }

    /** @param {Outcome} outcome */
    #told({ state, reason, code }) {
        [this.#server_state, this.#trouble] = [state, reason];
        switch (state) {
            case "new":
            case "uploading":
                if (!this.#session.scheduler.complete) this.#move("connect");
                break;
            case "finished":
                this.#end("finish");
                break;
            case "cancelled":
                this.#reason = reason;
                this.#end("cancelled");
                break;
            case "failed":
                this.#problem = fatal(code ?? HANDOVER_FAILED, reason);
                this.#end("fail");
                break;
            default:
                this.#move("arrive");
        }
        this.#publish();
    }

    #superseded() {
        // A cancellation that was sent to the server ends the upload for both uploaders.
        if (this.#phase !== "cancelling") this.#fail(fatal(TAKEN_OVER, "the upload was taken over by another uploader of this page"));
    }

    /** @param {Problem} problem */
    #fail(problem) {
        this.#problem = problem;
        this.#end("fail");
        this.#publish();
    }

    /** @param {Event} event */
    #end(event) {
        this.#session.stop();
        this.#move(event);
    }

    /**
     * @param {Event} event
     * @returns {boolean} whether it could happen
     */
    #move(event) {
        const next = next_phase(this.#phase, event);
        if (!next) return false;
        this.#phase = next;
        if (next === "finished") this.#notifier.add("onfinished", "onfinish");
        if (next === "cancelled") this.#notifier.add("oncancelled");
        if (next === "failed") this.#notifier.add("onerror");
        return true;
    }

    #publish() {
        this.#notifier.publish(() => this.#update());
        this.#page.follow(this.#presence, RUNNING.has(this.#phase), this.#session.flowing);
        return this;
    }

    /** @param {boolean} at_once */
    #remember(at_once) {
        const { unfinished } = this.#page;
        const { connected, scheduler } = this.#session;
        if (this.#phase === "finished" || this.#phase === "cancelled") return unfinished.forget(this.upload_id);
        if (this.#phase === "failed") {
            // Whoever has taken it over remembers it.
            const code = this.#problem?.code ?? 0;
            if (code !== TAKEN_OVER && TICKET_IS_OVER.has(code)) unfinished.forget(this.upload_id);
        } else if (connected || at_once) {
            const progress = { bytes_acked: scheduler.bytes_acked, can_continue: this.#can_continue };
            unfinished.note(this.upload_id, this.#file, progress, at_once);
        }
    }

    async #keep_handle() {
        const known = this.#page.unfinished.list().find((entry) => entry.ticket === this.upload_id);
        this.#can_continue ||= known?.can_continue ?? false;
        if (!this.#handle || this.#can_continue || !this.#page.store.enabled) return;
        this.#can_continue = await this.#page.handles.keep(this.upload_id, this.#handle);
        if (this.#can_continue && RUNNING.has(this.#phase)) this.#remember(true);
    }

    /** @returns {import("./public_state.js").Facts} */
    #facts() {
        const { scheduler, connected, transport } = this.#session;
        const problem = this.#phase === "failed" ? this.#problem : this.#session.problem;
        const reason = this.#phase === "handing_over" ? this.#trouble : this.#reason;
        const [phase, bytes_total, server_state] = [this.#phase, this.bytes_total, this.#server_state];
        return { phase, bytes_total, scheduler, connected, transport, server_state, reason, problem };
    }

    /** @returns {boolean} whether anything observable has changed */
    #update() {
        let changed = false;
        this.#seen = observe(this.#facts());
        const fields = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this));
        for (const [name, value] of Object.entries(this.#seen)) {
            if (fields[name] === value) continue;
            fields[name] = value;
            changed = true;
        }
        // Before the callbacks: a page that learns of the end may list the unfinished uploads.
        if (changed) this.#remember(false);
        return changed;
    }
}
