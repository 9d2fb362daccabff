// What a page has found out about the transports to its server: whether WebSockets work, whether HTTP replaces them,
// whether the server was ever reached. Decides how long that is valid; the selector decides what follows.

/** @typedef {import("../page/page_context.js").PageContext} PageContext */

const KEY = "incoming.transport.";
const WELL_FORMED = { failed_at: /** @type {const} */ ("number") };
/** Other networks have other proxies, and a wrong entry costs only the WebSocket. */
const BELIEVED_FOR = 3_600_000;
/** After these nothing more is tried that way until the page is loaded again. */
const WHOLE_TRIES = 2;

export class TransportMemory {
    /** One has been welcomed since the page was loaded. */
    websocket_works = false;
    /** Chunks must be read before they are sent. */
    blobs_fail = false;
    /** Tries in a row in which a file that was sent with its hello was not taken. */
    #whole_failures = 0;
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

    get wanted() {
        return this.#page.wanted_transport;
    }

    /** Whether to begin with HTTP, because it worked recently where a WebSocket did not. */
    get websocket_fails() {
        return Math.abs(this.#page.env.wall() - this.#failed_at) < BELIEVED_FOR;
    }

    /** Whether a small file may be sent with its hello, which only HTTP can. */
    get whole_works() {
        return this.wanted !== "websocket" && this.#whole_failures < WHOLE_TRIES;
    }

    whole_worked() {
        this.#whole_failures = 0;
    }

    /** @param {boolean} useless whether the server, or what is in front of it, takes none */
    whole_failed(useless) {
        this.#whole_failures += useless ? WHOLE_TRIES : 1;
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
