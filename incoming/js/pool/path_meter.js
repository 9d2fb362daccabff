// Where the bytes of one upload wait on their way: how long chunks are in flight, whether the browser is late or busy
// reading the file, and what the server reports. Decides which of them limits the rate. Knows no state of the upload.

/** @typedef {import("../transport/messages.js").Path} Path */
/** @typedef {import("../incoming.js").UploadLimit} UploadLimit */

/** Milliseconds between two looks at the browser. */
const SAMPLE_INTERVAL = 500;
/** Part of the latest value in an average. */
const NEWS = 0.3;
/** Milliseconds by which timers are late on a page whose scripts leave no time for the upload. */
const LATE = 80;
/** Share of the looks at which the file was still being read while the line had nothing to send. */
const READING = 0.5;
/** Milliseconds for which a report of the server counts; it sends one every two seconds. */
const REPORT_LASTS = 10_000;

export class PathMeter {
    #env;
    /** @type {number | null} */
    #sampled = null;
    #reported_at = 0;
    #lag = 0;
    #reading = 0;
    /** @type {number | null} */
    #delay = null;
    /** @type {Path | null} */
    #server = null;

    /** @param {import("../page/environment.js").Environment} env */
    constructor(env) {
        this.#env = env;
    }

    /** @param {number} milliseconds for which a chunk was in flight */
    acked(milliseconds) {
        this.#delay = average(this.#delay ?? milliseconds, milliseconds);
    }

    /**
     * Look at the browser. Called with each ack, before further chunks are sent.
     * @param {boolean} reads whether nothing can be sent because the file is still being read
     */
    sample(reads) {
        const { now, after, document } = this.#env;
        const at = now();
        this.#sampled ??= at;
        if (at - this.#sampled < SAMPLE_INTERVAL) return;
        this.#sampled = at;
        this.#reading = average(this.#reading, Number(reads));
        // The timers of a hidden page are late by intention.
        if (document?.visibilityState === "hidden") this.#lag = 0;
        else after(0, () => (this.#lag = average(this.#lag, now() - at)));
    }

    /** @param {Path} figures of the server */
    reported(figures) {
        this.#server = figures;
        this.#reported_at = this.#env.now();
    }

    /** In seconds, but for the share `reading`. */
    get figures() {
        const server = this.#env.now() - this.#reported_at < REPORT_LASTS ? this.#server : null;
        return { ack_delay: this.#delay && this.#delay / 1000, lag: this.#lag / 1000, reading: this.#reading, server };
    }

    /**
     * What limits an upload whose chunks are in flight; the line if nothing else does.
     * @returns {UploadLimit | null} null before the first ack
     */
    get limit() {
        const { ack_delay, server } = this.figures;
        if (server?.limit) return server.limit;
        if (ack_delay === null) return null;
        return this.#lag >= LATE || this.#reading >= READING ? "browser" : "line";
    }
}

/**
 * @param {number} before
 * @param {number} latest
 */
function average(before, latest) {
    return before + (latest - before) * NEWS;
}
