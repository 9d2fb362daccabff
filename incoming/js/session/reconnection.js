// When an upload tries to connect: at once, or after a wait that grows until bytes are acknowledged. The file is
// checked before each attempt. The session decides what a loss means, and how to connect.

import { Backoff } from "./backoff.js";

/** @typedef {import("../transport/errors.js").Problem} Problem */

/**
 * @typedef {object} Owner
 * @property {() => void} connect called when it is time to connect and the file is unchanged
 * @property {(problem: Problem) => void} failed the file is not, and never will be
 */

export class Reconnection {
    #env;
    #check;
    #owner;
    #backoff;
    #attempt = 0;
    /** @type {unknown} */
    #timer = null;
    /** @type {number | null} time of the next attempt; null during one, and when there will be none */
    due = null;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("../file/file_check.js").FileCheck} check
     * @param {Owner} owner
     */
    constructor(env, check, owner) {
        this.#env = env;
        this.#check = check;
        this.#owner = owner;
        this.#backoff = new Backoff(env.random);
    }

    /** Changes when an attempt is abandoned, so that its late results are ignored. */
    get attempt() {
        return this.#attempt;
    }

    /** Nobody waits any longer. */
    async now() {
        this.stop();
        const attempt = this.#attempt;
        const problem = await this.#check.confirm();
        if (attempt !== this.#attempt) return;
        if (problem) this.#owner.failed(problem);
        else this.#owner.connect();
    }

    /** @param {number | null} [wanted] seconds to wait, as requested by the server */
    later(wanted) {
        this.stop();
        const delay = this.#backoff.next(wanted);
        this.due = this.#env.now() + delay;
        this.#timer = this.#env.after(delay, () => this.now());
    }

    /** Abandons the current or next attempt. */
    stop() {
        this.#attempt++;
        this.due = null;
        this.#env.stop(this.#timer);
    }

    /** Progress was made, or the user resumes: the next wait is the first one again. */
    reset() {
        this.#backoff.reset();
    }
}
