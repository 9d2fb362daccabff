// The upload servers of a page: connections to them, their further names, and what the page has found out about the
// transports. One for all uploads of a page. When a connection is opened is the session's decision.

import { HttpConnection } from "../transport/http_connection.js";
import { LongPoll } from "../transport/long_poll.js";
import { session_name } from "../transport/messages.js";
import { WebSocketConnection } from "../transport/websocket_connection.js";
import { FrontendHosts } from "./frontend_hosts.js";
import { TransportMemory } from "./transport_memory.js";

/** @typedef {import("../transport/connection.js").Listener} Listener */
/** @typedef {import("../transport/connection.js").Connection} Connection */
/** @typedef {import("../transport/messages.js").Welcome} Welcome */

export class Servers {
    /** @type {Map<string, {news: LongPoll, hosts: FrontendHosts}>} by the URL of the frontend */
    #known = new Map();
    /** @type {Set<string>} versions of servers of which was warned */
    #met = new Set();

    /** @param {import("../page/page_context.js").PageContext} page */
    constructor(page) {
        this.page = page;
        /** One session for all uploaders of the page, so that they take a ticket over from each other in order. */
        this.session = session_name(page.env.random);
        this.transports = new TransportMemory(page);
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
        const { env, frontend } = this.page;
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
        return this.#server(this.page.frontend).hosts.most;
    }

    /** @param {string} frontend */
    #server(frontend) {
        let server = this.#known.get(frontend);
        if (!server) {
            server = { news: new LongPoll(this.page.env, frontend), hosts: new FrontendHosts(frontend) };
            this.#known.set(frontend, server);
        }
        return server;
    }

    /** What the server gets about the library. */
    get library() {
        const { version } = this.page.env;
        return version && `incoming.js/${version}`;
    }

    /**
     * Take what a server reports about itself. Versions are compatible by Semantic Versioning: their first numbers are equal
     * and, while those are 0, the second ones.
     * @param {Welcome} welcome
     */
    met({ version = "", hosts = [] }) {
        const { env, frontend } = this.page;
        this.#server(frontend).hosts.add(hosts);
        const { version: own, warn } = env;
        const fits = (/** @type {string} */ one) => /^(0\.)?\d+/.exec(one)?.[0];
        if (!own || !version || fits(own) === fits(version) || this.#met.has(version)) return;
        this.#met.add(version);
        warn(`the library has version ${own}, the upload server ${version}; use the library of the server`);
    }
}
