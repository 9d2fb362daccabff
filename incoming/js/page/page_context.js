// State shared by all uploaders of a page: the server and the module that sends to it, what is stored, which uploads run.

import { frontend_url } from "../transport/urls.js";
import { CancelOutbox } from "./cancel_outbox.js";
import { FileHandles } from "./file_handles.js";
import { RequestLimiter } from "./request_limiter.js";
import { LocalStore } from "./local_store.js";
import { ConnectivityEvents } from "./connectivity_events.js";
import { TransferLoader } from "./transfer_loader.js";
import { load_transfer } from "./transfer_module.js";
import { UnfinishedUploads } from "./unfinished_uploads.js";
import { WakeLock } from "./wake_lock.js";

/** @typedef {import("./environment.js").Environment} Environment */

/**
 * A running upload, as the page sees it.
 * @typedef {object} Upload
 * @property {string} ticket
 * @property {() => void} superseded another uploader of the page has started with the same ticket
 * @property {(doubtful: boolean) => void} revive connect now, and check whether connections still work
 * @property {() => void} remember the progress now, in storage
 * @property {() => boolean} warns whether the browser must ask before the page is left
 */

/** More would delay the app's other requests: browsers open six connections to a host. */
const TICKET_REQUESTS = 3;

export class PageContext {
    /** @type {import("../incoming.js").LanguagePack | null} the language of state_msg; null for English */
    language = null;
    /** @type {"auto" | "websocket" | "http"} */
    wanted_transport = "auto";
    #hostname = "";
    #place;
    /** @type {Map<string, Upload>} the last started uploader of each ticket */
    #holders = new Map();
    /** @type {Set<Upload>} */
    #running = new Set();
    /** @type {Set<Upload>} */
    #sending = new Set();

    /**
     * @param {Environment} env
     * @param {import("../transport/urls.js").Place} place
     * @param {typeof load_transfer} [load] the module that sends files
     */
    constructor(env, place, load = load_transfer) {
        this.env = env;
        this.#place = place;
        this.store = new LocalStore(env.storage);
        this.handles = new FileHandles(env.databases);
        this.unfinished = new UnfinishedUploads(this);
        this.outbox = new CancelOutbox(this);
        this.transfer_loader = new TransferLoader(this, load);
        this.wake_lock = new WakeLock(env);
        this.ticket_requests = new RequestLimiter(TICKET_REQUESTS);
        this.events = new ConnectivityEvents(env, (doubtful) => this.#revive(doubtful));
        env.page?.addEventListener("pagehide", () => this.#part());
    }

    /**
     * The page is there. What sends files is loaded at once, and not when it is needed: the line may be bad then. A program
     * outside of a browser has it on its disk.
     */
    begin() {
        if (this.env.page) this.transfer_loader.begin();
        this.outbox.resume();
    }

    /** URL of the server's frontend, with a slash at its end. */
    get frontend() {
        return frontend_url(this.#hostname, this.#place);
    }

    /** @param {string} hostname "" for the page's own; throws a TypeError for an invalid host name */
    set_hostname(hostname) {
        frontend_url(hostname, this.#place);
        this.#hostname = hostname;
    }

    /**
     * @param {number} connections that all uploads of the page together may have
     * @returns {number} how many of them one may have
     */
    share(connections) {
        return Math.max(1, Math.floor(connections / Math.max(1, this.#sending.size)));
    }

    /**
     * An uploader starts: from now on only it, of this page, has the ticket.
     * @param {Upload} upload
     */
    claim(upload) {
        const holder = this.#holders.get(upload.ticket);
        this.#holders.set(upload.ticket, upload);
        if (holder && holder !== upload) holder.superseded();
    }

    /**
     * @param {string} ticket
     * @returns {boolean} whether a running uploader of this page has it
     */
    is_claimed(ticket) {
        return this.#holders.has(ticket);
    }

    /**
     * The uploader's ticket is about to change.
     * @param {Upload} upload
     */
    release(upload) {
        if (this.#holders.get(upload.ticket) === upload) this.#holders.delete(upload.ticket);
    }

    /**
     * @param {Upload} upload
     * @param {boolean} running whether it is started, and neither paused nor ended
     * @param {boolean} sending whether its bytes flow
     */
    follow(upload, running, sending) {
        if (this.#running.has(upload) === running && this.#sending.has(upload) === sending) return;
        if (!running && this.#holders.get(upload.ticket) === upload) this.#holders.delete(upload.ticket);
        toggle(this.#running, upload, running);
        toggle(this.#sending, upload, sending);
        this.wake_lock.hold(this.#sending.size > 0);
        this.events.watch_sleep(this.#running.size > 0);
        // Only while needed: such a listener keeps some browsers from caching the page.
        this.env.page?.removeEventListener("beforeunload", this.#ask);
        if (this.#running.size) this.env.page?.addEventListener("beforeunload", this.#ask);
    }

    #ask = (/** @type {Event} */ event) => {
        if ([...this.#running].some((upload) => upload.warns())) event.preventDefault();
    };

    /** @param {boolean} doubtful */
    #revive(doubtful) {
        this.transfer_loader.revive(doubtful);
        for (const upload of this.#running) upload.revive(doubtful);
        this.outbox.revive();
    }

    #part() {
        for (const upload of this.#running) upload.remember();
        this.outbox.part();
    }
}

/**
 * @template T
 * @param {Set<T>} set
 * @param {T} member
 * @param {boolean} belongs
 */
function toggle(set, member, belongs) {
    if (belongs) set.add(member);
    else set.delete(member);
}
