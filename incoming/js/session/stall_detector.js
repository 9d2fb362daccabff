// Notices that an upload stands still although its connections seem to live: chunks that a WebSocket has taken and that do
// not arrive, because something on the way keeps them; or a file of which all is acknowledged and that is not said to
// have arrived. What follows from it is the session's business.

import { upload_url } from "../transport/urls.js";
import { request } from "../transport/http_request.js";

/**
 * @typedef {object} Owner
 * @property {() => boolean} waiting whether chunks are on their way
 * @property {() => void} swallowed the server is there, and does not get them
 * @property {() => void} doubtful whether the server has what it acknowledged
 */

const UNACKED_FOR = 6_000;
const LOOK_AGAIN_AFTER = 3_000;
const ANSWERED_WITHIN = 5_000;
/** So often in a row the server has no byte more than before: on a slow line it has, chunks are stored while they come. */
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
    /** @type {(() => void) | null} aborts the question under way */
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

    /** Chunks were acknowledged. */
    moved() {
        this.#doubt_after = ARRIVAL_DOUBTED_AFTER;
    }

    /** Chunks flow over a WebSocket; to be said again with each ack. */
    watch_chunks() {
        this.stop();
        this.#wait(UNACKED_FOR, () => {
            if (this.#owner.waiting()) this.#look(-1, 0);
            else this.watch_chunks();
        });
    }

    /** All is acknowledged; the server has not yet reported that the file has arrived. */
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
     * @param {number} before bytes that the server had when it was asked last
     * @param {number} in_vain so many looks in a row found no more
     */
    #look(before, in_vain) {
        // Where the server cannot be asked it is the line, which the connections notice by themselves.
        this.#wait(ANSWERED_WITHIN, () => this.watch_chunks());
        const url = upload_url(this.#page.frontend, this.#upload.ticket);
        this.#abort = request(this.#env, { method: "GET", url }, ({ status, json }) => {
            if (status !== 200 || !Number.isSafeInteger(json?.arrived)) return this.watch_chunks();
            const times = json.arrived === before ? in_vain + 1 : 0;
            if (times === LOOKS) {
                this.stop();
                this.#owner.swallowed();
            } else {
                this.#wait(LOOK_AGAIN_AFTER, () => this.#look(json.arrived, times));
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
