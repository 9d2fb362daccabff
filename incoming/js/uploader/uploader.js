// One upload as the page sees it: its properties, flags, callbacks and the three actions of the user. How the
// bytes get to the server is the session's business.

import { FILE_CHANGED, HANDOVER_FAILED, TAKEN_OVER, TICKET_IS_OVER, bad_argument, fatal } from "../transport/errors.js";
import { bind_members } from "./bound_members.js";
import { base_name, path_of, require_arguments } from "./file_argument.js";
import { diagnosis_of } from "./diagnosis.js";
import { observe } from "./public_state.js";
import { Notifier } from "./notifier.js";
import { PendingSession } from "./pending_session.js";
import { ProgressRecord } from "./progress_record.js";
import { next_phase } from "./state_machine.js";
import { RateMeter, time_left } from "./rate_meter.js";
import { TicketSource } from "./ticket_source.js";

/** @typedef {import("./state_machine.js").Event} Event */
/** @typedef {import("../transport/messages.js").Outcome} Outcome */
/** @typedef {import("../transport/errors.js").Problem} Problem */
/** @typedef {import("../incoming.js").UploaderCallback} Callback */

/** @type {Set<import("./state_machine.js").Phase>} */
const RUNNING = new Set(["requesting", "connecting", "transferring", "waiting", "handing_over", "cancelling"]);

const MEMBERS = ["rate", "eta", "next_try_in", "start", "pause", "cancel", "discard", "retry_now", "snapshot", "subscribe", "diagnosis"];

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

    /** Limit of the rate in bytes a second, 0 for none; may be set at any time. */
    max_rate = 0;
    /** Whether the browser asks before the page is left while this upload runs; may be set at any time. */
    warn_on_leave = false;

    upload_id;
    filename;
    /** Relative to the folder that was chosen or dropped; ends with the name. */
    path;
    bytes_total;
    bytes_tx = 0;
    bytes_acked = 0;
    bytes_received = 0;
    bytes_ahead = 0;
    frac_complete = 0;
    chunks_tx_now = 0;
    chunks_acked_now = 0;
    chunks_ahead = 0;
    /** @type {import("../incoming.js").UploadState} */
    state = "idle";
    state_msg = "not yet started";
    cancel_msg = "";
    /** @type {number | null} */
    error_code = null;
    /** @type {string | null} */
    error_name = null;
    error_msg = "";
    connected = false;
    finished = false;
    failed = false;
    paused = false;
    can_pause = false;
    cancelling = false;
    cancelled = false;
    can_cancel = true;
    /** @type {"websocket" | "http" | "direct" | ""} */
    transport = "";

    #page;
    /** @type {PendingSession | import("../session/session.js").Session} */
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
    #record;
    /** @type {TicketSource | null} null where the page has given a ticket */
    #tickets = null;
    /** The ticket is that of an unfinished upload of the same file, which the server may no longer have. */
    #resumed = false;
    #resume;
    #meter = new RateMeter();
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
     * @param {string | import("../incoming.js").TicketFunction} ticket
     * @param {File} file
     * @param {import("../incoming.js").UploaderOptions} [options]
     */
    constructor(page, ticket, file, options = {}) {
        require_arguments(ticket, file, options);
        this.upload_id = this.#presence.ticket = typeof ticket === "string" ? ticket : "";
        this.filename = base_name(file.name);
        this.path = path_of(file, options.path);
        this.bytes_total = file.size;
        this.#page = page;
        this.#file = file;
        this.#record = new ProgressRecord(page, file, options.handle ?? null);
        this.#resume = options.resume ?? false;
        if (typeof ticket === "function") this.#tickets = this.#ticket_source(ticket);
        this.#session = new PendingSession(page, this.#presence, file, () => this.max_rate, {
            loaded: (session) => void (this.#session = session),
            changed: () => this.#follow(),
            attempting: () => this.#publish(),
            reported: (outcome) => this.#reported(outcome),
            failed: (problem) => this.#fail(problem),
            at_once: options.at_once ?? false,
            unanswered: () => this.#cancel_offline(),
        });
        this.#seen = observe(this.#facts());
        this.#notifier = new Notifier(this, page.env, () => {
            const { upload_id, filename, path, bytes_total, rate, eta, next_try_in } = this;
            return { upload_id, filename, path, bytes_total, rate, eta, next_try_in, ...this.#seen };
        });
        bind_members(this, MEMBERS);
    }

    /** Bytes a second that have arrived lately, as it is at this moment; 0 while nothing is transferred. */
    get rate() {
        return this.#meter.rate(this.#page.env.now());
    }

    /** Seconds until the file will have arrived, by the present rate; null while that is unknown. */
    get eta() {
        return time_left(this.bytes_total - this.bytes_received, this.rate);
    }

    /** Seconds until the next try to connect or to get a ticket; null when none is waited for. */
    get next_try_in() {
        const due = this.#due;
        return due === null ? null : Math.max(0, (due - this.#page.env.now()) / 1000);
    }

    get #due() {
        return (this.#tickets?.due ?? null) || this.#session.due;
    }

    /** What limits the upload at this moment, with its figures; frozen. */
    diagnosis() {
        return diagnosis_of(this, this.#session);
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
        if (this.failed && this.#tickets && TICKET_IS_OVER.has(this.error_code ?? 0)) this.#take_ticket("");
        if (!this.upload_id && this.#resume) this.#take_up();
        if (!this.#move(this.upload_id ? "start" : "request")) return this;
        this.#problem = null;
        if (this.upload_id) this.#connect();
        else this.#tickets?.start();
        return this.#publish();
    }

    #connect() {
        this.#page.claim(this.#presence);
        this.#session.start();
        this.#record.keep_handle(this.upload_id, () => RUNNING.has(this.#phase) && this.#remember(true));
    }

    /** Whether a wait for the next try to connect, or to get a ticket, ends now. Nothing happens where there is none. */
    retry_now() {
        if (this.#phase === "requesting") this.#tickets?.retry_now();
        else this.#session.retry_now();
        return this;
    }

    /**
     * Nothing happens where `can_pause` is false, or to 'unpause' what is not paused.
     * @param {"pause" | "unpause" | "toggle"} what
     */
    pause(what) {
        if (!["pause", "unpause", "toggle"].includes(what)) throw bad_argument("pause() takes 'pause', 'unpause' or 'toggle'");
        if (this.paused) return what === "pause" ? this : this.start();
        if (what === "unpause" || !this.can_pause || !this.#move("pause")) return this;
        this.#tickets?.stop();
        this.#session.pause();
        return this.#publish();
    }

    /**
     * Cancel also what is paused. Nothing happens during the handover and after the end.
     * @param {string} [reason]
     */
    discard(reason = "") {
        if (!this.paused) return this.cancel(reason);
        this.#reason = String(reason);
        this.#cancel_offline();
        return this;
    }

    /**
     * Nothing happens where `can_cancel` is false.
     * @param {string} [reason]
     */
    cancel(reason = "") {
        if (!this.can_cancel) return this;
        this.#reason = String(reason);
        if ((this.#session.connected || this.#session.carries) && this.#move("cancel")) this.#session.cancel(this.#reason);
        else this.#cancel_offline();
        return this.#publish();
    }

    #cancel_offline() {
        this.#tickets?.stop();
        this.#session.stop();
        if (this.#move("drop") && this.upload_id) this.#page.outbox.cancel(this.upload_id, this.#reason);
        this.#publish();
    }

    #follow() {
        if (!this.#session.connected) this.#move("lose");
        else if (this.#session.scheduler.complete) this.#move("arrive");
        this.#publish();
    }

    /** @param {Outcome} outcome */
    #reported({ state, reason, code }) {
        [this.#server_state, this.#trouble] = [state, reason];
        switch (state) {
            case "new":
            case "uploading":
                this.#resumed = false;
                if (!this.#session.scheduler.complete) this.#move("connect");
                break;
            case "finished":
                this.#end("finish");
                break;
            case "cancelled":
                if (this.#resumed) return this.#renew();
                this.#reason = reason;
                this.#end("cancelled");
                break;
            case "failed":
                return this.#fail(fatal(code ?? HANDOVER_FAILED, reason));
            default:
                this.#resumed = false;
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
        const { code } = problem;
        if (this.#resumed && code !== TAKEN_OVER && (TICKET_IS_OVER.has(code) || code === FILE_CHANGED)) return this.#renew();
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
        this.#notifier.publish(
            () => this.#update(),
            () => this.#due,
        );
        this.#page.follow(this.#presence, RUNNING.has(this.#phase), this.#session.flowing);
        return this;
    }

    /** @param {import("../incoming.js").TicketFunction} get */
    #ticket_source(get) {
        return new TicketSource(this.#page, get, this.#file, this.path, {
            received: (ticket) => {
                this.#take_ticket(ticket);
                this.#problem = null;
                this.#move("start");
                this.#connect();
                this.#publish();
            },
            waiting: (problem) => {
                this.#problem = problem;
                this.#publish();
            },
            failed: (problem) => this.#fail(problem),
        });
    }

    /** Resume an unfinished upload of this file, unless another uploader of the page has it. */
    #take_up() {
        const found = this.#page.unfinished.match(this.#file);
        this.#resumed = found !== null && !this.#page.is_claimed(found.ticket);
        if (found && this.#resumed) this.#take_ticket(found.ticket);
    }

    /** The server does not have the unfinished upload any more: start from the beginning, with a new ticket. */
    #renew() {
        this.#session.stop();
        this.#page.unfinished.forget(this.upload_id);
        this.#take_ticket("");
        this.#resumed = this.#resume = false;
        this.#phase = "requesting";
        this.#tickets?.start();
        this.#publish();
    }

    /** @param {string} ticket "" for none */
    #take_ticket(ticket) {
        this.#page.release(this.#presence);
        this.upload_id = this.#presence.ticket = ticket;
        this.#session.scheduler.restart();
        this.#session.scheduler.confirm([]);
    }

    /** @param {boolean} at_once */
    #remember(at_once) {
        const { connected, scheduler } = this.#session;
        const progress = { connected, bytes_acked: scheduler.bytes_acked };
        this.#record.note(this.upload_id, this.#phase, this.#problem?.code ?? 0, progress, at_once);
    }

    /** @returns {import("./public_state.js").Facts} */
    #facts() {
        const { scheduler, connected, transport, bytes_received } = this.#session;
        const problem = this.#phase === "failed" || this.#phase === "requesting" ? this.#problem : this.#session.problem;
        const reason = this.#phase === "handing_over" ? this.#trouble : this.#reason;
        const [phase, bytes_total, server_state, pack] = [this.#phase, this.bytes_total, this.#server_state, this.#page.language];
        return { phase, bytes_total, scheduler, connected, transport, bytes_received, server_state, reason, problem, pack };
    }

    /** @returns {boolean} whether anything observable has changed */
    #update() {
        let changed = false;
        this.#seen = observe(this.#facts());
        this.#meter.note(this.#page.env.now(), this.#seen.bytes_received, this.#seen.state === "transferring");
        const fields = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this));
        for (const [name, value] of Object.entries(this.#seen)) {
            if (fields[name] === value) continue;
            fields[name] = value;
            changed = true;
        }
        // Before the callbacks: a page that handles the end may list the unfinished uploads.
        if (changed) this.#remember(false);
        return changed;
    }
}
