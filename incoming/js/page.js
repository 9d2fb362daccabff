// What all uploaders of one page share: the environment, where the server is, how it is reached, what is remembered.

import { frontend_url } from "./address.js";
import { Courier } from "./courier.js";
import { HttpConnection } from "./http_transport.js";
import { Memory } from "./memory.js";
import { WebSocketConnection } from "./websocket_transport.js";

/** @typedef {import("./environment.js").Environment} Environment */
/** @typedef {import("./websocket_transport.js").Listener} Listener */
/** @typedef {import("./websocket_transport.js").Connection} Connection */

export class Page {
    /** @type {import("./transport_choice.js").TransportMemory} */
    transports = { wanted: "auto", websocket_works: false };
    hostname = "";
    #place;

    /**
     * @param {Environment} env
     * @param {import("./address.js").Place} place
     */
    constructor(env, place) {
        this.env = env;
        this.#place = place;
        this.memory = new Memory(env.storage);
        this.courier = new Courier(this);
    }

    /** @type {Set<object>} uploads that are sending at present */
    sending = new Set();

    /**
     * @param {number} connections that the page may have
     * @returns {number} how many of them one of the uploads that run may have
     */
    share(connections) {
        return Math.max(1, Math.floor(connections / Math.max(1, this.sending.size)));
    }

    /** URL of the server's frontend, with a slash at its end. */
    get frontend() {
        return frontend_url(this.hostname, this.#place);
    }

    /**
     * @param {"websocket" | "http"} kind
     * @param {string} ticket
     * @param {File} file
     * @param {Listener} listener
     * @returns {Connection}
     */
    connect(kind, ticket, file, listener) {
        const target = { frontend: this.frontend, ticket, file, as_blobs: () => true };
        return kind === "http"
            ? new HttpConnection(this.env, target, listener)
            : new WebSocketConnection(this.env, target, listener);
    }
}
