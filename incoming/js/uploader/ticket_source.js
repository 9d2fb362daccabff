// Gets the ticket of an upload from the page's function; retries with back-off until the app answers. Decides what counts
// as a ticket, as a refusal, and as an app that is unavailable. The uploader decides the phase that follows.

import { Backoff } from "../session/backoff.js";
import { BAD_ARGUMENT, TICKET_REFUSED, TICKET_UNAVAILABLE, fatal } from "../transport/errors.js";

/** @typedef {import("../transport/errors.js").Problem} Problem */
/** @typedef {import("../incoming.js").TicketFunction} TicketFunction */

/**
 * @typedef {object} Owner
 * @property {(ticket: string) => void} received
 * @property {(problem: Problem | null) => void} waiting for the next try, or null when it begins
 * @property {(problem: Problem) => void} failed
 */

/** Statuses that no proxy sends while the app is unavailable. */
const REFUSALS = new Set([400, 401, 403, 409, 410, 413, 415, 422]);
const ANSWERED_WITHIN = 30_000;

export class TicketSource {
    #page;
    #get;
    #file;
    #path;
    #owner;
    #backoff;
    #attempt = 0;
    /** @type {AbortController | null} */
    #abort = null;
    /** @type {unknown} */
    #timer = null;
    /** @type {number | null} moment of the next try */
    due = null;

    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {TicketFunction} get
     * @param {File} file
     * @param {string} path
     * @param {Owner} owner
     */
    constructor(page, get, file, path, owner) {
        this.#page = page;
        this.#get = get;
        this.#file = file;
        this.#path = path;
        this.#owner = owner;
        this.#backoff = new Backoff(page.env.random);
    }

    start() {
        this.#backoff.reset();
        this.#request();
    }

    stop() {
        this.#attempt++;
        this.#abort?.abort();
        this.#page.env.stop(this.#timer);
        this.due = null;
    }

    retry_now() {
        if (this.due === null) return;
        this.#request();
        this.#owner.waiting(null);
    }

    async #request() {
        this.stop();
        const attempt = this.#attempt;
        const current = () => attempt === this.#attempt;
        const answer = await this.#page.ticket_requests.run(() => (current() ? this.#run() : null));
        if (!answer || !current()) return;
        if (typeof answer === "string") this.#owner.received(answer);
        else if (answer.retry) this.#wait(answer);
        else this.#owner.failed(answer);
    }

    /** @returns {Promise<string | Problem>} */
    async #run() {
        const abort = (this.#abort = new AbortController());
        /** @type {unknown} */
        let timer;
        const late = new Promise((_, reject) => {
            timer = this.#page.env.after(ANSWERED_WITHIN, () => reject(new Error(`no answer within ${ANSWERED_WITHIN / 1000} s`)));
            abort.signal.addEventListener("abort", () => reject(abort.signal.reason));
        });
        try {
            const ticket = Promise.resolve(this.#get(this.#file, { path: this.#path, signal: abort.signal })).then(parse_result);
            return await Promise.race([ticket, late]);
        } catch (error) {
            return from_error(error);
        } finally {
            this.#page.env.stop(timer);
        }
    }

    /** @param {Problem} problem */
    #wait(problem) {
        const delay = this.#backoff.next(problem.retry_after);
        this.due = this.#page.env.now() + delay;
        this.#timer = this.#page.env.after(delay, () => {
            this.#request();
            this.#owner.waiting(null);
        });
        this.#owner.waiting(problem);
    }
}

/**
 * @param {unknown} given what the page's function has returned
 * @returns {Promise<string | Problem>}
 */
async function parse_result(given) {
    if (typeof given === "string" && given.trim()) return given.trim();
    if (given instanceof Response) return from_response(given);
    return fatal(BAD_ARGUMENT, `the ticket function must return a ticket or a Response; returned: ${typeof given}`);
}

/**
 * Plain text and JSON come from the app; a page comes from a proxy or a framework. The media type does not distinguish
 * them: frameworks label any text HTML.
 * @param {Response} response
 * @returns {Promise<string | Problem>}
 */
async function from_response(response) {
    const { status } = response;
    const text = (await response.text()).trim();
    const found = text.startsWith("<") ? "" : text_of(text);
    if (response.ok && found) return found;
    if (REFUSALS.has(status) && found) return fatal(TICKET_REFUSED, found);
    const seconds = Number(response.headers.get("Retry-After"));
    return unavailable(`HTTP ${status}`, seconds > 0 ? seconds : null);
}

/** @param {string} text a ticket or message as it is, as JSON, or as `ticket` or `message` of a JSON object */
function text_of(text) {
    if (!/^["{]/.test(text)) return text;
    try {
        const value = JSON.parse(text);
        return String((typeof value === "string" ? value : (value.ticket ?? value.message)) ?? "");
    } catch {
        return "";
    }
}

/**
 * An error whose `retry` is false is the app's refusal, with its message.
 * @param {any} error
 * @returns {Problem}
 */
function from_error(error) {
    const message = String(error?.message ?? error);
    return error?.retry === false ? fatal(TICKET_REFUSED, message) : unavailable(message);
}

/**
 * @param {string} message
 * @param {number | null} [retry_after]
 * @returns {Problem}
 */
function unavailable(message, retry_after = null) {
    return { code: TICKET_UNAVAILABLE, message: `the application gives no ticket at present (${message})`, retry: true, retry_after };
}
