// What all uploaders of one page share: the environment, where the server is, how it is reached, what is remembered.

import { frontend_url } from "./address.js";
import { Courier } from "./courier.js";
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
        void kind;
        return new WebSocketConnection(this.env, target, listener);
    }
}
