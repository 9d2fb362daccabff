// Opens the first connection of a session: by which transport, and by both in parallel where a WebSocket is slow.
// reconnection.js decides when to retry, the session what a loss means.

import { AHEAD } from "../pool/rate_controller.js";
import { is_garbled } from "../transport/errors.js";
import { Reachability } from "./reachability.js";
import { TransportSelector } from "./transport_selector.js";

/** @typedef {import("../pool/connection_pool.js").ConnectionPool} ConnectionPool */
/** @typedef {import("../pool/connection_pool.js").PooledConnection} PooledConnection */
/** @typedef {import("../transport/messages.js").Hello} Hello */
/** @typedef {import("../transport/errors.js").Problem} Problem */

/** A WebSocket without a welcome by then gets a parallel request: some proxies neither open nor refuse one. */
const WEBSOCKET_ALONE_FOR = 2_000;

export class Connector {
    #env;
    #memory;
    #reachability;
    /** Whether the next attempt is the first one. */
    #first = true;
    /** @type {unknown} */
    #timer = null;

    /** @param {import("./servers.js").Servers} servers */
    constructor(servers) {
        this.#env = servers.page.env;
        this.#memory = servers.transports;
        this.#reachability = new Reachability(servers);
        this.selector = new TransportSelector(servers.transports);
    }

    /** The user starts or resumes the upload. */
    begin() {
        this.#first = true;
        this.selector.begin();
        this.#reachability.begin();
    }

    /**
     * @param {ConnectionPool} pool in which nothing is open
     * @param {Hello} hello
     * @param {boolean} whole whether all of the file goes with it
     * @param {boolean} anew whether nothing of the file has arrived, as far as is known, and no rate limits what is sent
     */
    connect(pool, hello, whole, anew) {
        this.stop();
        const ahead = anew && this.#first && hello.size > AHEAD ? true : undefined;
        this.#first = false;
        if (whole) return void pool.open("http", hello, true);
        const { kind } = this.selector;
        if (kind !== "websocket") return void pool.open(kind, hello);
        const pooled = pool.open(kind, { ...hello, ahead });
        this.#timer = this.#env.after(WEBSOCKET_ALONE_FOR, () => {
            if (pool.has(pooled) && this.selector.doubtful()) pool.open("http", hello);
        });
    }

    stop() {
        this.#env.stop(this.#timer);
    }

    /** @param {"websocket" | "http"} kind over which the server has answered */
    welcomed(kind) {
        this.stop();
        this.#memory.reached = true;
        this.selector.welcomed(kind);
    }

    /**
     * A proxy that loses a header of the handshake makes WebSockets useless; over HTTP the server's error can be read.
     * @param {PooledConnection} pooled that has ended
     * @param {Problem | null} problem
     * @returns {boolean}
     */
    is_useless({ connection, rate }, problem) {
        if (!problem || !is_garbled(problem) || rate || connection.kind !== "websocket") return false;
        return this.selector.doubtful() || this.selector.fallen_back;
    }

    /**
     * An attempt has failed.
     * @param {Problem | null} problem
     * @returns {Problem | null} what to show meanwhile
     */
    failed(problem) {
        return this.#reachability.failed(problem);
    }
}
