// State shared by all uploaders of a page: the server and its transports, what is stored, which uploads run.

import { session_name } from "../transport/messages.js";
import { frontend_url } from "../transport/urls.js";
import { CancelOutbox } from "./cancel_outbox.js";
import { FileHandles } from "./file_handles.js";
import { FrontendHosts } from "./frontend_hosts.js";
import { HttpConnection } from "../transport/http_connection.js";
import { RequestLimiter } from "./request_limiter.js";
import { LongPoll } from "../transport/long_poll.js";
import { LocalStore } from "./local_store.js";
import { ConnectivityEvents } from "./connectivity_events.js";
import { TransportMemory } from "./transport_memory.js";
import { UnfinishedUploads } from "./unfinished_uploads.js";
import { WakeLock } from "./wake_lock.js";
import { WebSocketConnection } from "../transport/websocket_connection.js";

/** @typedef {import("./environment.js").Environment} Environment */
/** @typedef {import("../transport/connection.js").Listener} Listener */
/** @typedef {import("../transport/connection.js").Connection} Connection */
/** @typedef {import("../transport/messages.js").Welcome} Welcome */

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
    #hostname = "";
    #place;
    /** @type {Set<string>} versions of servers of which was warned */
    #met = new Set();
    /** @type {Map<string, {news: LongPoll, hosts: FrontendHosts}>} the servers that this page uploads to */
    #servers = new Map();
    /** @type {Map<string, Upload>} the last started uploader of each ticket */
    #holders = new Map();
    /** @type {Set<Upload>} */
    #running = new Set();
    /** @type {Set<Upload>} */
    #sending = new Set();

    /**
     * @param {Environment} env
     * @param {import("../transport/urls.js").Place} place
     */
    constructor(env, place) {
        this.env = env;
        this.#place = place;
        /** One session for all uploaders of the page, so that they take a ticket over from each other in order. */
        this.session = session_name(env.random);
        this.store = new LocalStore(env.storage);
        this.transports = new TransportMemory(this);
        this.handles = new FileHandles(env.databases);
        this.unfinished = new UnfinishedUploads(this);
        this.outbox = new CancelOutbox(this);
        this.wake_lock = new WakeLock(env);
        this.ticket_requests = new RequestLimiter(TICKET_REQUESTS);
        this.events = new ConnectivityEvents(env, (doubtful) => this.#revive(doubtful));
        env.page?.addEventListener("pagehide", () => this.#part());
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
     * @param {"websocket" | "http"} kind
     * @param {string} ticket
     * @param {import("../transport/connection.js").Source} source of the file's bytes
     * @param {Listener} listener
     * @param {boolean} [further] whether it is not the upload's first
     * @returns {Connection}
     */
    connect(kind, ticket, source, listener, further = false) {
        const { env, frontend } = this;
        const { news, hosts } = this.#server(frontend);
        const whole_failed = (/** @type {boolean} */ useless) => this.transports.whole_failed(useless);
        const target = { frontend, ticket, source, news, as_blobs: () => !this.transports.blobs_fail, closed: () => {}, whole_failed };
        if (kind !== "http") return new WebSocketConnection(env, target, listener);
        const host = hosts.enter(further);
        let welcomed = false;
        const own = {
            ...listener,
            welcome: (/** @type {Welcome} */ welcome) => {
                welcomed = true;
                listener.welcome(welcome);
            },
            // Whatever answers at a name of no use: the upload does not depend on it.
            closed: (/** @type {import("../transport/errors.js").Problem | null} */ problem) =>
                listener.closed(!welcomed && hosts.failed(host) ? null : problem),
        };
        return new HttpConnection(env, { ...target, frontend: host, closed: () => hosts.leave(host) }, own);
    }

    /** Connections over HTTP that all uploads of the page together should have. */
    get http_connections() {
        return this.#server(this.frontend).hosts.most;
    }

    /** @param {string} frontend */
    #server(frontend) {
        let server = this.#servers.get(frontend);
        if (!server) {
            server = { news: new LongPoll(this.env, frontend), hosts: new FrontendHosts(frontend) };
            this.#servers.set(frontend, server);
        }
        return server;
    }

    /** What the server gets about the library. */
    get library() {
        return this.env.version && `incoming.js/${this.env.version}`;
    }

    /**
     * Take what a server reports about itself. Versions are compatible by Semantic Versioning: their first numbers are equal
     * and, while those are 0, the second ones.
     * @param {Welcome} welcome
     */
    met({ version = "", hosts = [] }) {
        this.#server(this.frontend).hosts.add(hosts);
        const { version: own, warn } = this.env;
        const fits = (/** @type {string} */ one) => /^(0\.)?\d+/.exec(one)?.[0];
        if (!own || !version || fits(own) === fits(version) || this.#met.has(version)) return;
        this.#met.add(version);
        warn(`the library has version ${own}, the upload server ${version}; use the library of the server`);
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
