// Whether the upload server was ever reached from this page, and when to report that it was not: a wrong address looks
// like a server that is down for a moment. Attempts continue in any case.

import { NEVER_REACHED, SERVER_UNAVAILABLE } from "../transport/errors.js";

/** @typedef {import("../transport/errors.js").Problem} Problem */

/** A restarting server is back before this many attempts, with growing waits, have failed. */
const ATTEMPTS = 6;

export class Reachability {
    #servers;
    #failed = 0;

    /** @param {import("./servers.js").Servers} servers */
    constructor(servers) {
        this.#servers = servers;
    }

    /** The user starts the upload. */
    begin() {
        this.#failed = 0;
    }

    /**
     * An attempt to connect has failed.
     * @param {Problem | null} problem if there was an answer
     * @returns {Problem | null} what to show while waiting for the next one
     */
    failed(problem) {
        if (problem && problem.code !== SERVER_UNAVAILABLE) {
            this.#servers.transports.reached = true;
            return problem;
        }
        if (this.#servers.transports.reached || ++this.#failed < ATTEMPTS) return problem;
        const found = problem ? ` (${problem.message})` : "";
        const message = `no upload server has answered at ${this.#servers.page.frontend} so far${found}; the address may be wrong`;
        return { code: NEVER_REACHED, message, retry: true, retry_after: problem?.retry_after ?? null };
    }
}
