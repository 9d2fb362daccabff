// Delivers cancellations that were made without a connection. Retries with exponential back-off, keeps them in storage
// over page loads, and passes the rest to the browser when the page closes.

import { upload_url } from "../transport/urls.js";
import { Backoff } from "../session/backoff.js";
import { request } from "../transport/http_request.js";
import { cancel } from "../transport/messages.js";

/** @typedef {{frontend: string, reason: string, since: number}} Cancellation `since` in milliseconds since the epoch */

const KEY = "incoming.cancel.";
const UNDELIVERABLE_AFTER = 14 * 24 * 3600 * 1000;
/** @type {{[property in keyof Cancellation]: "string" | "number"}} */
const WELL_FORMED = { frontend: "string", reason: "string", since: "number" };

export class CancelOutbox {
    #page;
    /** @type {Map<string, Cancellation>} */
    #pending = new Map();
    #backoff;
    /** @type {unknown} */
    #timer = null;
    #sending = false;

    /** @param {import("./page_context.js").PageContext} page */
    constructor(page) {
        this.#page = page;
        this.#backoff = new Backoff(page.env.random);
    }

    /** Resume the deliveries that earlier page loads left behind. */
    resume() {
        for (const [ticket, letter] of this.#page.store.entries(KEY, WELL_FORMED)) {
            if (this.#page.env.wall() - letter.since > UNDELIVERABLE_AFTER) this.#page.store.remove(KEY + ticket);
            else this.#pending.set(ticket, letter);
        }
        this.#deliver();
    }

    /**
     * @param {string} ticket
     * @param {string} reason
     */
    cancel(ticket, reason) {
        const letter = { frontend: this.#page.frontend, reason, since: this.#page.env.wall() };
        this.#pending.set(ticket, letter);
        this.#page.store.set(KEY + ticket, letter);
        this.#deliver();
    }

    /** Retry at once: the network may be back. */
    revive() {
        this.#page.env.stop(this.#timer);
        this.#deliver();
    }

    /** Send each cancellation as a beacon while the page closes; the outcome is not reported. */
    part() {
        for (const [ticket, { frontend, reason }] of this.#pending) {
            this.#page.env.beacon?.(upload_url(frontend, ticket), cancel(reason));
        }
    }

    #deliver() {
        const [first] = this.#pending;
        if (!first || this.#sending) return;
        const [ticket, { frontend, reason }] = first;
        this.#sending = true;
        const message = { method: "POST", url: upload_url(frontend, ticket), body: cancel(reason) };
        request(this.#page.env, message, (answer) => {
            this.#sending = false;
            this.#pending.delete(ticket);
            if (!is_settled(answer)) {
                // After the others: a server that is down must not delay the rest.
                this.#pending.set(ticket, { frontend, reason, since: first[1].since });
                this.#timer = this.#page.env.after(this.#backoff.next(), () => this.#deliver());
                return;
            }
            this.#page.store.remove(KEY + ticket);
            this.#backoff.reset();
            this.#deliver();
        });
    }
}

/**
 * Only the server's own answer counts: a captive portal or a login page answers 200 to everything.
 * @param {import("../transport/http_request.js").Answer} answer
 */
function is_settled({ status, json, problem }) {
    return (status === 200 && json?.type === "state") || (problem !== null && !problem.retry);
}
