// When an upload tries to connect: at once, or after a wait that grows until something was acknowledged. The file is
// looked at before each attempt. What a loss means, and by what to connect, is the session's business.

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
    /** @type {number | null} moment of the next attempt; null while one is under way, and when there will be none */
    due = null;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("../uploader/file_check.js").FileCheck} check
     * @param {Owner} owner
     */
    constructor(env, check, owner) {
        this.#env = env;
        this.#check = check;
        this.#owner = owner;
        this.#backoff = new Backoff(env.random);
    }

    /** Another number means that what was begun under the last one was given up meanwhile. */
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

    /** @param {number | null} [wanted] seconds that the server asked us to wait */
    later(wanted) {
        this.stop();
        const delay = this.#backoff.next(wanted);
        this.due = this.#env.now() + delay;
        this.#timer = this.#env.after(delay, () => this.now());
    }

    /** The attempt under way, or the one that was to come, is given up. */
    stop() {
        this.#attempt++;
        this.due = null;
        this.#env.stop(this.#timer);
    }

    /** Progress was made, or the user wants it anew: the next wait is a first one again. */
    reset() {
        this.#backoff.reset();
    }
}
