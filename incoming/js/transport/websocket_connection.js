// One connection of an upload over a WebSocket. Decides how messages become frames and when a silent line is dead; does
// not know why a chunk is sent or what a state means. http_connection.js is the same interface over requests.

import * as messages from "./messages.js";
import { from_close_code } from "./errors.js";
import { websocket_url } from "./urls.js";

/** @typedef {import("../page/environment.js").Environment} Environment */
/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./connection.js").Listener} Listener */
/** @typedef {import("./connection.js").Target} Target */
/** @typedef {import("./messages.js").Range} Range */
/** @typedef {import("./errors.js").Problem} Problem */

const OPEN_WITHIN = 10_000;
const WELCOME_WITHIN = 5_000;
const LINGER = 2_000;
const CHECK_WITHIN = 4_000;
/** In ping intervals: a connection without any message for this long is lost, however slow the line. */
const SILENCE = 2.5;

/** @implements {Connection} */
export class WebSocketConnection {
    /** @type {"websocket"} */
    kind = "websocket";
    protocol = "";
    depth = Infinity;
    #env;
    #target;
    #listener;
    /** @type {WebSocket | null} */
    #socket = null;
    /** @type {unknown} */
    #timer = null;
    /** @type {Problem | null} */
    #problem = null;
    #greeted = false;
    #welcomed = false;
    #pausing = false;
    #received_at = 0;
    #buffered = 0;
    /** Bytes of chunks that are still being read. */
    #unread = 0;
    #silence_allowed = 0;
    /** Chunks that are being read while later ones wait: the order on the wire is that of `send`. */
    #reading = Promise.resolve();

    /**
     * @param {Environment} env
     * @param {Target} target
     * @param {Listener} listener
     */
    constructor(env, target, listener) {
        this.#env = env;
        this.#target = target;
        this.#listener = listener;
    }

    get buffered() {
        return this.#socket ? this.#socket.bufferedAmount + this.#unread : 0;
    }

    get reads() {
        return this.#unread > 0 && this.#socket?.bufferedAmount === 0;
    }

    /** @param {messages.Hello} greeting */
    open(greeting) {
        let socket;
        try {
            const url = websocket_url(this.#target.frontend, this.#target.ticket);
            socket = this.#env.open_socket(url, messages.SUBPROTOCOL);
        } catch {
            this.#wait(0, () => this.#closed());
            return;
        }
        this.#socket = socket;
        this.#reading = new Promise((resolve) => {
            socket.onopen = () => {
                this.#greeted = true;
                socket.send(messages.hello(greeting));
                this.#wait(WELCOME_WITHIN, () => this.#closed());
                resolve();
            };
        });
        socket.onmessage = (event) => this.#receive(event.data);
        socket.onclose = (event) => {
            this.#problem ??= from_close_code(event.code);
            this.#closed();
        };
        this.#wait(OPEN_WITHIN, () => this.#closed());
    }

    /** @param {Range} chunk that may be sent before the welcome: it is read during the handshake, and goes right behind the hello */
    send([start, end]) {
        this.#unread += end - start;
        const content = this.#content([start, end]);
        const turn = this.#reading.then(async () => {
            const chunk = joined(messages.chunk_header(start), await content);
            this.#unread -= end - start;
            // Behind the pause it would end it.
            if (!this.#pausing) this.#socket?.send(chunk);
        });
        this.#reading = turn.catch(() => this.#unreadable());
    }

    /** @param {Range} chunk */
    async #content(chunk) {
        const content = await this.#target.source.read(chunk);
        if (content instanceof Uint8Array || this.#target.as_blobs()) return content;
        return new Uint8Array(await content.arrayBuffer());
    }

    #unreadable() {
        if (this.#socket) this.#closed();
    }

    pause() {
        // The server does not know this connection, and the upload's state there may stay.
        if (!this.#greeted) return this.close();
        this.#pausing = true;
        if (this.#welcomed) this.#send_pause();
    }

    #send_pause() {
        this.#socket?.send(messages.pause());
        this.#wait(LINGER, () => this.close());
    }

    /** @param {string} limit */
    report(limit) {
        this.#socket?.send(messages.ping(limit));
    }

    /** @param {string} reason */
    cancel(reason) {
        this.#socket?.send(messages.cancel(reason));
    }

    /**
     * @param {"sign" | "sent"} type
     * @param {number[]} parts
     */
    about_parts(type, parts) {
        this.#socket?.send(messages.about_parts(type, parts));
    }

    check() {
        if (!this.#welcomed) return;
        this.#socket?.send(messages.ping());
        this.#expect(this.#env.now(), this.buffered);
    }

    /**
     * Wait for a message of the server, as long as bytes leave the send buffer.
     * @param {number} asked
     * @param {number} buffered
     */
    #expect(asked, buffered) {
        this.#wait(CHECK_WITHIN, () => {
            if (this.#received_at > asked) this.#watch();
            else if (this.buffered < buffered) this.#expect(asked, this.buffered);
            else this.#closed();
        });
    }

    close() {
        this.#env.stop(this.#timer);
        const socket = this.#socket;
        if (!socket) return;
        this.#socket = null;
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
    }

    /** @param {unknown} data */
    #receive(data) {
        this.#received_at = this.#env.now();
        const message = messages.parse(data);
        if (this.#pausing) {
            if (message?.type === "welcome") this.#send_pause();
            else if (message?.type === "paused") this.close();
            return;
        }
        switch (message?.type) {
            case "welcome":
                this.#welcomed = true;
                this.#silence_allowed = message.ping_interval * 1000 * SILENCE;
                this.#watch();
                this.#listener.welcome(message);
                break;
            case "ack":
                this.#listener.ack(message.chunks);
                break;
            case "received":
                this.#listener.received(message.extents, message.ranges);
                break;
            case "signed":
                this.#listener.signed?.(message.urls, message.expires_in);
                break;
            case "unseen":
                this.#listener.unseen?.(message.parts);
                break;
            case "state":
                this.#listener.state({ state: message.state, reason: message.reason, code: message.code });
                break;
            case "path":
                this.#listener.path(message);
                break;
            case "ping":
                this.#socket?.send(messages.PONG);
                break;
            case "error":
                this.#problem = messages.problem(message);
                this.#closed();
        }
    }

    /**
     * Bytes that leave the send buffer are progress, like a message: on a slow line an ack, and a pong behind the data,
     * can take minutes.
     */
    #watch() {
        this.#wait(this.#silence_allowed / 10, () => {
            const now = this.#env.now();
            if (this.buffered < this.#buffered) this.#received_at = now;
            this.#buffered = this.buffered;
            if (now - this.#received_at > this.#silence_allowed) this.#closed();
            else this.#watch();
        });
    }

    #closed() {
        this.close();
        if (!this.#pausing) this.#listener.closed(this.#problem);
    }

    /**
     * The only timer of this connection.
     * @param {number} milliseconds
     * @param {() => void} action
     */
    #wait(milliseconds, action) {
        this.#env.stop(this.#timer);
        this.#timer = this.#env.after(milliseconds, action);
    }
}

/**
 * @param {ArrayBuffer} header
 * @param {Blob | Uint8Array<ArrayBuffer>} content
 * @returns {Blob | Uint8Array<ArrayBuffer>} a chunk
 */
function joined(header, content) {
    if (content instanceof Blob) return new Blob([header, content]);
    const chunk = new Uint8Array(header.byteLength + content.length);
    chunk.set(new Uint8Array(header));
    chunk.set(content, header.byteLength);
    return chunk;
}
