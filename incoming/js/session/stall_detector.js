// Detects that an upload stalls although its connections seem alive: chunks that a WebSocket has accepted and an
// intermediary holds back; or a file of which all is acknowledged without the state `arrived`. The session decides what
// follows.

import { upload_url } from "../transport/urls.js";
import { request } from "../transport/http_request.js";

/**
 * @typedef {object} Owner
 * @property {() => boolean} waiting whether chunks are in flight
 * @property {() => void} swallowed the server answers, and does not receive them
 * @property {() => void} doubtful whether the server has what it acknowledged
 */

const UNACKED_FOR = 6_000;
const LOOK_AGAIN_AFTER = 3_000;
const ANSWERED_WITHIN = 5_000;
/**
 * Consecutive checks without a new byte at the server; on a slow line there are some, because chunks are stored while
 * they arrive.
 */
const LOOKS = 2;
/** First after 15 s, then less often. */
const ARRIVAL_DOUBTED_AFTER = 15_000;

export class StallDetector {
    #env;
    #page;
    #upload;
    #owner;
    /** @type {unknown} */
    #timer = null;
    /** @type {(() => void) | null} aborts the current check */
    #abort = null;
    #doubt_after = ARRIVAL_DOUBTED_AFTER;

    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {{readonly ticket: string}} upload
     * @param {Owner} owner
     */
    constructor(page, upload, owner) {
        this.#env = page.env;
        this.#page = page;
        this.#upload = upload;
        this.#owner = owner;
    }

    /** Chunks were acknowledged, or received at least. */
    moved() {
        this.#doubt_after = ARRIVAL_DOUBTED_AFTER;
    }

    /** Chunks flow over a WebSocket; called again with each ack. */
    watch_chunks() {
        this.stop();
        this.#wait(UNACKED_FOR, () => {
            if (this.#owner.waiting()) this.#look(-1, 0);
            else this.watch_chunks();
        });
    }

    /** All is acknowledged, without a report that the file has arrived. */
    await_arrival() {
        this.stop();
        this.#wait(this.#doubt_after, () => {
            this.#doubt_after *= 2;
            this.#owner.doubtful();
        });
    }

    stop() {
        this.#env.stop(this.#timer);
        this.#abort?.();
        this.#abort = null;
    }

    /**
     * @param {number} before bytes of the server at the last check
     * @param {number} in_vain number of consecutive checks without more
     */
    #look(before, in_vain) {
        // If the server cannot be reached, it is the line, which the connections detect themselves.
        this.#wait(ANSWERED_WITHIN, () => this.watch_chunks());
        const url = upload_url(this.#page.frontend, this.#upload.ticket);
        this.#abort = request(this.#env, { method: "GET", url }, ({ status, json }) => {
            if (status !== 200 || !Number.isSafeInteger(json?.arrived)) return this.watch_chunks();
            const arrived = json.received ?? json.arrived;
            const times = arrived === before ? in_vain + 1 : 0;
            if (times === LOOKS) {
                this.stop();
                this.#owner.swallowed();
            } else {
                this.#wait(LOOK_AGAIN_AFTER, () => this.#look(arrived, times));
            }
        });
    }

    /**
     * The one timer: what is waited for at present.
     * @param {number} milliseconds
     * @param {() => void} action
     */
    #wait(milliseconds, action) {
        this.#env.stop(this.#timer);
        this.#timer = this.#env.after(milliseconds, action);
    }
}
