// What a page has found out about the transports to its server: whether WebSockets work, whether HTTP replaces them,
// whether the server was ever reached. Decides how long that is valid; the selector decides what follows.

/** @typedef {import("./page_context.js").PageContext} PageContext */

const KEY = "incoming.transport.";
const WELL_FORMED = { failed_at: /** @type {const} */ ("number") };
/** Other networks have other proxies, and a wrong entry costs only the WebSocket. */
const BELIEVED_FOR = 3_600_000;

export class TransportMemory {
    /** @type {"auto" | "websocket" | "http"} as set by the page */
    wanted = "auto";
    /** One has been welcomed since the page was loaded. */
    websocket_works = false;
    /** Chunks must be read before they are sent. */
    blobs_fail = false;
    /** The server has answered since the page was loaded. */
    reached = false;
    #page;
    /** Milliseconds since the epoch; -Infinity for never. */
    #failed_at = -Infinity;

    /** @param {PageContext} page */
    constructor(page) {
        this.#page = page;
        for (const [, { failed_at }] of page.store.entries(KEY, WELL_FORMED)) this.#failed_at = failed_at;
    }

    /** Whether to begin with HTTP, because it worked recently where a WebSocket did not. */
    get websocket_fails() {
        return Math.abs(this.#page.env.wall() - this.#failed_at) < BELIEVED_FOR;
    }

    /** HTTP works where a WebSocket failed. */
    websocket_failed() {
        this.#failed_at = this.#page.env.wall();
        this.#page.store.set(KEY, { failed_at: this.#failed_at });
    }

    /** A chunk has arrived by a WebSocket. */
    websocket_worked() {
        if (this.#failed_at === -Infinity) return;
        this.#failed_at = -Infinity;
        this.#page.store.remove(KEY);
    }
}
