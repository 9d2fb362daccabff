// WebSocket or HTTP: which of the two an upload tries next, when a WebSocket counts as broken, and how chunks are
// passed to the browser. Pure: gets only how connections began and ended.

/** @typedef {"websocket" | "http"} Kind */

/**
 * What the page has found out.
 * @typedef {object} TransportMemory
 * @property {"auto" | Kind} wanted
 * @property {boolean} websocket_works one has been welcomed since the page was loaded
 * @property {boolean} websocket_fails HTTP has worked recently where a WebSocket did not
 * @property {boolean} blobs_fail chunks must be read before they are sent
 * @property {() => void} websocket_failed
 * @property {() => void} websocket_worked
 */

/** A WebSocket that ends this soon, in milliseconds, was useless ... */
const SHORT_LIFE = 5000;
/** ... and this many in a row mean that an intermediary cuts them. */
const SHORT_LIVES = 3;
/** Where WebSockets have worked, a refused one more likely means a restarting server. */
const PATIENCE = 3;
const BLOB_FAILURES = 2;

export class TransportSelector {
    #store;
    /** @type {Kind} */
    #preferred = "websocket";
    #failures = 0;
    #short_lives = 0;
    #unacknowledged = 0;
    /** Whether a WebSocket failed although the server answered, which the page must remember. */
    #blamed = false;

    /** @param {TransportMemory} store */
    constructor(store) {
        this.#store = store;
    }

    /** The user starts or resumes the upload. */
    begin() {
        if (this.#store.websocket_fails) this.#preferred = "http";
    }

    /** @returns {Kind} the kind of the next connection */
    get kind() {
        return this.#store.wanted === "auto" ? this.#preferred : this.#store.wanted;
    }

    /** Whether this upload uses HTTP although a WebSocket is wanted. */
    get fallen_back() {
        return this.#store.wanted === "auto" && this.#preferred === "http";
    }

    /**
     * A connection could not be had.
     * @param {Kind} kind
     * @returns {boolean} whether to try the other kind at once
     */
    failed(kind) {
        if (kind !== this.kind) return false;
        if (this.#store.wanted !== "auto") return false;
        this.#failures++;
        const patience = kind === "http" || this.#store.websocket_works ? PATIENCE : 1;
        if (this.#failures < patience) return false;
        this.#prefer(kind === "http" ? "websocket" : "http");
        // Where one has worked, the server may have been restarting.
        this.#blamed = !this.#store.websocket_works;
        return kind === "websocket";
    }

    /**
     * A WebSocket was not welcomed within the usual time, or the server did not understand what it carried.
     * @returns {boolean} whether to try HTTP at once
     */
    doubtful() {
        if (this.kind !== "websocket" || this.#store.wanted !== "auto") return false;
        this.#blame();
        return true;
    }

    /**
     * The server has answered.
     * @param {Kind} kind
     */
    welcomed(kind) {
        this.#failures = 0;
        if (kind === "websocket") this.#store.websocket_works = true;
        else if (this.#blamed && this.fallen_back) this.#store.websocket_failed();
    }

    /**
     * A connection that had been welcomed has ended without an error from the server.
     * @param {Kind} kind
     * @param {number} lived milliseconds
     */
    cut(kind, lived) {
        if (kind !== "websocket") return;
        this.#short_lives = lived < SHORT_LIFE ? this.#short_lives + 1 : 0;
        if (this.#short_lives < SHORT_LIVES) return;
        this.#short_lives = 0;
        this.#blame();
    }

    /** Chunks do not get through an open WebSocket. */
    swallowed() {
        this.unacknowledged();
        this.#blame();
    }

    /**
     * Chunks were acknowledged. Only that, not a welcome, shows that a WebSocket tried on the side is of use.
     * @param {Kind} kind
     */
    acknowledged(kind) {
        this.#unacknowledged = 0;
        if (kind !== "websocket") return;
        this.#blamed = false;
        this.#store.websocket_worked();
        if (this.#preferred === "http") this.#prefer("websocket");
    }

    /**
     * A connection has ended with chunks in flight. Some browsers never finish sending a Blob that is part of a file:
     * after two failures chunks are sent the other way.
     */
    unacknowledged() {
        if (++this.#unacknowledged % BLOB_FAILURES === 0) this.#store.blobs_fail = !this.#store.blobs_fail;
    }

    #blame() {
        this.#blamed = true;
        this.#prefer("http");
    }

    /** @param {Kind} kind */
    #prefer(kind) {
        this.#preferred = kind;
        this.#failures = 0;
    }
}
