// One connection of an upload over plain HTTP requests: hello by POST, each chunk a PUT with Content-Range, state
// changes by long-poll. The same interface as websocket_connection.js; here a connection is a slot for one request at a
// time.

import { upload_url, whole_url } from "./urls.js";
import { MESSAGE_TOO_LARGE, NOT_FOUND, SERVER_UNAVAILABLE, is_garbled } from "./errors.js";
import { request } from "./http_request.js";
import * as messages from "./messages.js";

/** @typedef {import("./messages.js").Range} Range */
/** @typedef {import("./messages.js").State} State */
/** @typedef {import("./errors.js").Problem} Problem */
/** @typedef {import("./http_request.js").Answer} Answer */
/** @typedef {import("./connection.js").Connection} Connection */

const ANSWER_WITHIN = 10_000;
/** The same for a hello that a file goes with. */
const WHOLE_WITHIN = 15_000;
/** Milliseconds without a chunk to send after which the connection starts to poll for state changes. */
const IDLE = 400;
const STATUS_WITHIN = 5_000;
const CHECK_AGAIN_AFTER = 3_000;
/** Milliseconds in which nothing of a chunk has left the browser: it may be unable to read the file. */
const FILE_DOUBTED_AFTER = 5_000;
/** @type {Answer} */
const NO_ANSWER = { status: 0, json: null, problem: null, retry_after: null };
/** In units of the server's ping interval, as for a WebSocket. */
const SILENCE = 2.5;

/** @implements {Connection} */
export class HttpConnection {
    /** @type {"http"} */
    kind = "http";
    depth = 1;
    buffered = 0;
    reads = false;
    #env;
    #target;
    #url;
    #listener;
    #session = "";
    #limit = "";
    #epoch = 0;
    #total = 0;
    /** @type {State} */
    #state = "uploading";
    #reason = "";
    #silence_allowed = 0;
    #alive_at = 0;
    #open = true;
    #welcomed = false;
    #pausing = false;
    /** @type {(() => void) | null} aborts the current request */
    #abort = null;
    /** @type {(() => void) | null} aborts the check whether the server answers */
    #abort_question = null;
    /** @type {unknown} */
    #timer = null;
    /** @type {Range | null} the chunk under way */
    #sending = null;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("./connection.js").Target} target
     * @param {import("./connection.js").Listener} listener
     */
    constructor(env, target, listener) {
        this.#env = env;
        this.#target = target;
        this.#url = upload_url(target.frontend, target.ticket);
        this.#listener = listener;
    }

    get protocol() {
        return this.#env.protocol(this.#url);
    }

    /**
     * @param {messages.Hello} greeting
     * @param {boolean} [whole]
     */
    open(greeting, whole = false) {
        this.#session = greeting.session;
        this.#total = greeting.size;
        if (whole) return void this.#open_whole(messages.hello(greeting));
        this.#ask({ method: "POST", body: messages.hello(greeting) }, ANSWER_WITHIN, (answer) => {
            const welcome = messages.parse_welcome(answer.json);
            if (!welcome) return this.#failed(answer);
            this.#welcome(welcome);
            // The welcome names the state, its reason only the status does.
            if (this.#open && !messages.is_receiving(welcome.state)) this.#look();
        });
    }

    /**
     * One request for hello and file; without headers of its own, for which a browser would ask first (Fetch standard, 4.8).
     * @param {string} hello
     */
    async #open_whole(hello) {
        const body = await this.#target.source.whole().catch(() => null);
        if (!this.#open) return;
        if (!body) return this.#closed(null);
        const { frontend, ticket } = this.#target;
        const failed = (/** @type {Answer} */ answer) => this.#whole_failed(answer);
        const url = whole_url(frontend, ticket, hello);
        this.#ask({ method: "POST", url, body, late: () => failed(NO_ANSWER) }, WHOLE_WITHIN, (answer) => {
            const welcome = messages.parse_welcome(answer.json);
            if (!welcome) return failed(answer);
            this.#state = welcome.state;
            this.#welcome(welcome);
            if (!this.#open || messages.is_receiving(welcome.state)) return;
            if (messages.has_arrived(welcome.state)) this.#await_news();
            else this.#look();
        });
    }

    /** @param {messages.Welcome} welcome */
    #welcome(welcome) {
        this.#welcomed = true;
        this.#epoch = welcome.epoch;
        if (this.#pausing) return this.pause();
        this.#silence_allowed = welcome.ping_interval * 1000 * SILENCE;
        // Before the listener is called, which may send at once: the first chunk must stop this timer.
        if (messages.is_receiving(welcome.state)) this.#rest();
        this.#listener.welcome(welcome);
    }

    /**
     * What the server says of the upload holds for any way of sending it. Everything else may concern this way only.
     * @param {Answer} answer
     */
    #whole_failed(answer) {
        if (answer.problem && !is_garbled(answer.problem)) return this.#failed(answer);
        this.#target.whole_failed(answer.status >= 400 && answer.status < 500);
        this.#closed(null);
    }

    /** @param {Range} chunk */
    async send(chunk) {
        this.#stop();
        this.#sending = chunk;
        this.#alive();
        this.#watch_progress();
        const body = await this.#content(chunk).catch(() => null);
        if (!this.#open) return;
        if (!body) return this.#closed(null);
        const [start, end] = chunk;
        const url = `${this.#url}?session=${this.#session}&epoch=${this.#epoch}&limit=${this.#limit}`;
        const headers = { "Content-Range": `bytes ${start}-${end - 1}/${this.#total}`, "Content-Type": "application/octet-stream" };
        const on_sent = () => this.#alive();
        this.#abort = request(this.#env, { method: "PUT", url, body, headers, on_sent }, (answer) => {
            this.#stop();
            this.#stored(chunk, answer);
        });
    }

    /** @param {Range} chunk */
    async #content(chunk) {
        const content = await this.#target.source.read(chunk);
        return content instanceof Uint8Array || this.#target.as_blobs() ? content : content.arrayBuffer();
    }

    /** @param {string} limit */
    report(limit) {
        this.#limit = limit;
    }

    pause() {
        this.#pausing = true;
        // A hello in flight would end an earlier pause.
        if (!this.#welcomed) return;
        this.close();
        request(this.#env, { method: "POST", url: this.#url, body: messages.pause(this.#epoch) }, () => {});
    }

    /** @param {string} reason */
    cancel(reason) {
        this.#ask({ method: "POST", body: messages.cancel(reason) }, ANSWER_WITHIN, (answer) => this.#news(answer));
    }

    check() {
        // Before the welcome there is a limit of its own.
        if (!this.#welcomed) return;
        if (this.#sending) this.#doubt();
        else this.#look();
    }

    close() {
        this.#stop();
        if (this.#open) this.#target.closed();
        this.#open = false;
    }

    /**
     * @param {Range} chunk
     * @param {Answer} answer
     */
    #stored(chunk, answer) {
        const { status, json, problem } = answer;
        if (status === 413 && (!problem || problem.code === MESSAGE_TOO_LARGE)) {
            this.#rest();
            this.#listener.too_large(chunk);
        } else if (status === 308 || (status === 200 && json?.state)) {
            this.#rest();
            if (json) this.#report_state(json);
            if (json?.path) this.#listener.path(json.path);
            this.#listener.ack([chunk]);
            // An aborted request ends its connection, which the next chunk would have to open again.
            if (status === 200 && this.#open && !this.#sending) this.#await_news();
        } else {
            this.#failed(answer);
        }
    }

    /** Nothing to send: after a moment, ask for news until there is. */
    #rest() {
        this.#wait(IDLE, () => this.#await_news());
    }

    /** Asks for the status at once. */
    #look() {
        const query = `?wait=0&state=${this.#state}`;
        this.#ask({ method: "GET", query }, ANSWER_WITHIN, (answer) => this.#news(answer));
    }

    /** Waits for state changes, together with the page's other uploads. */
    #await_news() {
        this.#stop();
        const done = (/** @type {Answer} */ answer) => {
            this.#stop();
            this.#news(answer);
        };
        const { ticket, news } = this.#target;
        this.#abort = news.watch({ ticket, state: this.#state, reason: this.#reason, done });
    }

    /** @param {Answer} answer */
    #news(answer) {
        if (answer.status !== 200 || !answer.json?.state) return this.#failed(answer);
        this.#report_state(answer.json);
        if (!this.#open || this.#sending) return;
        if (messages.is_receiving(this.#state)) this.#rest();
        else this.#await_news();
    }

    /** @param {any} status of the upload, as JSON */
    #report_state(status) {
        if (messages.is_receiving(status.state) || (status.state === this.#state && !status.reason)) return;
        this.#state = status.state;
        this.#reason = status.reason || "";
        this.#listener.state({ state: status.state, reason: this.#reason, code: status.code ?? null });
    }

    #alive() {
        this.#alive_at = this.#env.now();
    }

    #watch_progress() {
        this.#wait(Math.min(FILE_DOUBTED_AFTER, this.#silence_allowed / 5), () => {
            const silent = this.#env.now() - this.#alive_at;
            if (silent > this.#silence_allowed) return this.#doubt();
            if (silent >= FILE_DOUBTED_AFTER) this.#doubt_file();
            this.#watch_progress();
        });
    }

    async #doubt_file() {
        const chunk = this.#sending;
        if (chunk && (await this.#target.source.doubt(chunk)) && this.#sending === chunk) this.#closed(null);
    }

    /**
     * The request has made no progress for long. Bodies are stored as they arrive, so the server knows whether bytes still
     * arrive: a slow request continues, a stalled one is aborted.
     */
    #doubt() {
        const alive_at = this.#alive_at;
        this.#question((before) => {
            this.#wait(CHECK_AGAIN_AFTER, () => this.#question((after) => {
                if (after > before) {
                    this.#alive();
                    this.#watch_progress();
                } else if (this.#alive_at > alive_at) {
                    // What only the machine's own buffers have taken proves nothing.
                    this.#doubt();
                } else {
                    this.#closed(null);
                }
            }));
        });
    }

    /** @param {(arrived: number) => void} done with the bytes that the server has of this upload */
    #question(done) {
        this.#wait(STATUS_WITHIN, () => this.#closed(null));
        this.#abort_question?.();
        this.#abort_question = request(this.#env, { method: "GET", url: this.#url }, ({ status, json }) => {
            if (status === 200 && Number.isSafeInteger(json?.arrived)) done(json.received ?? json.arrived);
            else this.#closed(null);
        });
    }

    /**
     * @param {{method: string, url?: string, query?: string, body?: string | Uint8Array<ArrayBuffer>, late?: () => void}} what
     * @param {number} within milliseconds
     * @param {(answer: Answer) => void} done
     */
    #ask({ method, query = "", url = this.#url + query, body, late = () => this.#closed(null) }, within, done) {
        this.#stop();
        this.#abort = request(this.#env, { method, url, body }, (answer) => {
            this.#stop();
            done(answer);
        });
        this.#wait(within, late);
    }

    /** @param {Answer} answer */
    #failed({ status, problem, retry_after }) {
        if (problem?.code === NOT_FOUND) problem = { ...problem, message: `${problem.message}: ${this.#url}` };
        if (problem || status === 0) return this.#closed(problem && { ...problem, retry_after: problem.retry_after ?? retry_after });
        const message = `the upload server cannot be reached at the moment (HTTP status ${status})`;
        this.#closed({ code: SERVER_UNAVAILABLE, message, retry: true, retry_after });
    }

    /** @param {Problem | null} problem */
    #closed(problem) {
        this.close();
        if (!this.#pausing) this.#listener.closed(problem);
    }

    /** Ends all requests and timers. */
    #stop() {
        this.#env.stop(this.#timer);
        this.#abort?.();
        this.#abort_question?.();
        this.#abort = this.#abort_question = null;
        this.#sending = null;
    }

    /**
     * @param {number} milliseconds
     * @param {() => void} action
     */
    #wait(milliseconds, action) {
        this.#env.stop(this.#timer);
        this.#timer = this.#env.after(milliseconds, action);
    }
}
