// Loads the module that sends files, once for a page, and again until it is there as long as an upload needs it. To an
// upload a module that cannot be loaded is a server that cannot be reached: it waits. Decides when the next attempt is made.

import { Backoff } from "../session/backoff.js";
import { NEVER_REACHED } from "../transport/errors.js";

/** @typedef {import("../session/transfer.js").Transfer} Transfer */
/** @typedef {import("../transport/errors.js").Problem} Problem */
/** @typedef {import("./transfer_module.js").TransferModule} TransferModule */

/**
 * An upload that needs the module.
 * @typedef {object} Waiter
 * @property {(transfer: Transfer) => void} loaded called once, and it waits no more
 * @property {() => void} failed an attempt has failed
 * @property {(problem: Problem) => void} refused no attempt can succeed, and it waits no more
 * @property {() => void} attempting the next one begins
 */

/** Of the library's sources, and so of those of the module, as session/transfer.js has it. */
const BUILD = typeof __BUILD__ === "undefined" ? "" : __BUILD__;
/** Milliseconds after which an attempt counts as failed; it may still succeed. Longer each time: the line may be slow. */
const LOADED_WITHIN = 10_000;
const LOADED_WITHIN_AT_MOST = 60_000;
/** Failed attempts before an upload shows why it waits, as with a server that is never reached. */
const SHOWN_AFTER = 6;

export class TransferLoader {
    /** @type {Transfer | null} null until it is loaded */
    transfer = null;
    /** @type {number | null} time of the next attempt; null during one, and where none is needed */
    due = null;
    /** @type {Problem | null} what to show while an upload waits */
    problem = null;
    #page;
    #load;
    #backoff;
    /** @type {Set<Waiter>} */
    #waiting = new Set();
    #attempt = 0;
    #is_loading = false;
    #failures = 0;
    /** @type {unknown} of the attempt, or of the wait for the next one; null where no upload waits */
    #timer = null;

    /**
     * @param {import("./page_context.js").PageContext} page
     * @param {(attempt: number) => Promise<TransferModule>} load rejects with a Problem where no further attempt can succeed
     */
    constructor(page, load) {
        this.#page = page;
        this.#load = load;
        this.#backoff = new Backoff(page.env.random);
    }

    /** @param {TransferModule} module that is here */
    provide({ Transfer }) {
        if (this.transfer) return;
        this.transfer = new Transfer(this.#page);
        const waiting = [...this.#waiting];
        this.#waiting.clear();
        this.#rest();
        for (const waiter of waiting) waiter.loaded(this.transfer);
    }

    /** Load it, unless that has happened or is under way. */
    begin() {
        if (this.transfer || this.#is_loading) return;
        this.#stop();
        this.#is_loading = true;
        const attempt = ++this.#attempt;
        this.#load(attempt).then(
            (module) => {
                // Another server than the library's may have answered, or a newer one.
                if (module.BUILD === BUILD) this.provide(module);
                else this.#failed(attempt, "it is of another version; load the page again");
            },
            (error) => {
                if (error?.retry === false) this.#refused(attempt, error);
                else this.#failed(attempt, String(error?.message ?? error));
            },
        );
        this.#watch();
        for (const waiter of this.#waiting) waiter.attempting();
    }

    /**
     * An upload needs it, now or after the attempts that it takes.
     * @param {Waiter} waiter
     */
    wait(waiter) {
        this.begin();
        this.#waiting.add(waiter);
        this.#watch();
    }

    /** @param {Waiter} waiter that needs it no more */
    leave(waiter) {
        if (this.#waiting.delete(waiter) && this.#waiting.size === 0) this.#rest();
    }

    /** The user wants the next attempt now. */
    retry_now() {
        if (this.due !== null) this.begin();
    }

    /**
     * A moment in which loading may succeed. Nothing happens before the first attempt.
     * @param {boolean} doubtful whether an attempt may have been lost unnoticed
     */
    revive(doubtful) {
        if (this.#attempt === 0) return;
        if (doubtful) this.#is_loading = false;
        this.begin();
    }

    /** The present attempt has a limit while an upload waits; without one there is no timer, which keeps programs alive. */
    #watch() {
        if (!this.#is_loading || this.#waiting.size === 0 || this.#timer !== null) return;
        const attempt = this.#attempt;
        const limit = Math.min(LOADED_WITHIN_AT_MOST, LOADED_WITHIN * (this.#failures + 1));
        this.#timer = this.#page.env.after(limit, () => this.#failed(attempt, `no answer within ${limit / 1000} s`));
    }

    /**
     * @param {number} attempt
     * @param {string} reason
     */
    #failed(attempt, reason) {
        if (this.transfer || !this.#is_loading || attempt !== this.#attempt) return;
        this.#is_loading = false;
        this.#stop();
        if (this.#waiting.size === 0) return;
        if (++this.#failures >= SHOWN_AFTER) {
            const message = `a part of the upload library could not be loaded so far (${reason})`;
            this.problem = { code: NEVER_REACHED, message, retry: true, retry_after: null };
        }
        const delay = this.#backoff.next();
        this.due = this.#page.env.now() + delay;
        this.#timer = this.#page.env.after(delay, () => this.begin());
        for (const waiter of this.#waiting) waiter.failed();
    }

    /**
     * A later upload makes a further attempt.
     * @param {number} attempt
     * @param {Problem} problem
     */
    #refused(attempt, problem) {
        // Once, and also where no upload shows it.
        if (attempt === 1) this.#page.env.warn(problem.message);
        this.#is_loading = false;
        const waiting = [...this.#waiting];
        this.#waiting.clear();
        this.#rest();
        for (const waiter of waiting) waiter.refused(problem);
    }

    /** No upload waits. */
    #rest() {
        this.#stop();
        this.#failures = 0;
        this.problem = null;
        this.#backoff.reset();
    }

    #stop() {
        if (this.#timer !== null) this.#page.env.stop(this.#timer);
        this.#timer = this.due = null;
    }
}
