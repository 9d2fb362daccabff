// State changes of all uploads of a page over HTTP: one request at a time waits for them, because browsers open six
// connections to a server and those are for chunks and for the app. Decides how to wait, also at a server that cannot
// wait for several uploads at once; the connections decide what a change means.

import { request } from "./http_request.js";
import { problem } from "./messages.js";
import { upload_url, wait_url } from "./urls.js";

/** @typedef {import("./http_request.js").Answer} Answer */

/**
 * @typedef {object} Watcher
 * @property {string} ticket
 * @property {string} state known to its owner
 * @property {string} [reason] of that state, known to its owner
 * @property {(answer: Answer) => void} done called once, with an answer like to a status request
 */

const WAIT_SECONDS = 25;
/** Where uploads take turns, each poll is short, so that the others are not delayed for long. */
const TURN_SECONDS = 2;
const ANSWER_WITHIN = 10_000;
/** Uploads for which the server waits at once. */
const MOST = 50;
/** Watchers that start at the same moment share a request. */
const GATHER = 50;
/** Delay after an empty answer that came early: the server is draining, or a proxy ends requests. */
const BREATH = 1_000;
/** The failure of a request for several uploads may have been temporary. */
const SEVERAL_AGAIN_AFTER = 60_000;
const NOBODY = { status: 0, json: null, problem: null, retry_after: null };

export class LongPoll {
    #env;
    #frontend;
    /** @type {Set<Watcher>} */
    #watchers = new Set();
    /** @type {Map<string, string>} the states by ticket in the current request */
    #asked = new Map();
    /** @type {(() => void) | null} */
    #abort = null;
    /** @type {unknown} */
    #timer = null;
    /** @type {unknown} until the request that gathers new watchers; the current one goes on meanwhile */
    #gathering = null;
    #several_work = false;
    #several_not_before = 0;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {string} frontend
     */
    constructor(env, frontend) {
        this.#env = env;
        this.#frontend = frontend;
    }

    /**
     * @param {Watcher} watcher
     * @returns {() => void} ends the waiting
     */
    watch(watcher) {
        this.#watchers.add(watcher);
        // The current request waits for that, too, unless the upload was meanwhile in another state.
        if (this.#asked.get(watcher.ticket) !== watcher.state) this.#gathering ??= this.#env.after(GATHER, () => this.#ask());
        return () => {
            this.#watchers.delete(watcher);
            if (this.#watchers.size === 0) this.#stop();
        };
    }

    /** @param {number} milliseconds */
    #ask_after(milliseconds) {
        this.#stop();
        this.#timer = this.#env.after(milliseconds, () => this.#ask());
    }

    #ask() {
        this.#stop();
        const tickets = new Map([...this.#watchers].map(({ ticket, state }) => [ticket, state]));
        const [first] = tickets;
        if (!first) return;
        if (tickets.size > 1 && this.#env.now() >= this.#several_not_before) {
            this.#ask_for_several(new Map([...tickets].slice(0, MOST)), tickets.size > MOST ? TURN_SECONDS : WAIT_SECONDS);
        } else {
            this.#ask_for_one(...first, tickets.size > 1 ? TURN_SECONDS : WAIT_SECONDS);
        }
    }

    /**
     * @param {string} ticket
     * @param {string} state
     * @param {number} seconds
     */
    #ask_for_one(ticket, state, seconds) {
        const url = `${upload_url(this.#frontend, ticket)}?wait=${seconds}&state=${state}`;
        this.#send({ method: "GET", url }, new Map([[ticket, state]]), seconds, (answer, early) => {
            const known = [...this.#watchers].find((watcher) => watcher.ticket === ticket)?.reason ?? "";
            const { json } = answer;
            const unchanged = answer.status === 200 && json?.state === state && (json.reason || "") === known;
            if (unchanged) this.#rotate([ticket]);
            else this.#deliver(ticket, answer);
            this.#go_on(unchanged && early);
        });
    }

    /**
     * @param {Map<string, string>} tickets
     * @param {number} seconds
     */
    #ask_for_several(tickets, seconds) {
        const uploads = [...tickets].map(([id, state]) => ({ id, state }));
        const what = { method: "POST", url: wait_url(this.#frontend), body: JSON.stringify({ uploads, wait: seconds }) };
        this.#send(what, tickets, seconds, (answer, early) => {
            const news = answer.status === 200 && answer.json?.type === "news" ? answer.json.uploads : null;
            if (!Array.isArray(news)) return this.#several_failed(answer, tickets);
            this.#several_work = true;
            this.#rotate(tickets.keys());
            for (const upload of news) this.#deliver(upload.id, as_answer(upload));
            this.#go_on(news.length === 0 && early);
        });
    }

    /**
     * Where it has never worked, the server may not know such requests: each upload's own request decides.
     * @param {Answer} answer
     * @param {Map<string, string>} tickets
     */
    #several_failed(answer, tickets) {
        if (this.#several_work) {
            for (const ticket of tickets.keys()) this.#deliver(ticket, answer);
        } else {
            const is_unknown = answer.status === 404 || answer.status === 405;
            this.#several_not_before = is_unknown ? Infinity : this.#env.now() + SEVERAL_AGAIN_AFTER;
        }
        this.#go_on(false);
    }

    /**
     * @param {{method: string, url: string, body?: string}} what
     * @param {Map<string, string>} tickets
     * @param {number} seconds that the server may wait
     * @param {(answer: Answer, early: boolean) => void} done
     */
    #send(what, tickets, seconds, done) {
        this.#asked = tickets;
        const begun = this.#env.now();
        const end = (/** @type {Answer} */ answer) => {
            this.#stop();
            done(answer, this.#env.now() - begun < BREATH);
        };
        this.#abort = request(this.#env, what, end);
        this.#timer = this.#env.after(seconds * 1000 + ANSWER_WITHIN, () => end(NOBODY));
    }

    /** @param {boolean} breathe */
    #go_on(breathe) {
        // Watchers that were notified may already wait again; then a request is scheduled.
        if (this.#asked.size === 0 && this.#watchers.size > 0) this.#ask_after(breathe ? BREATH : 0);
    }

    /**
     * @param {string} ticket
     * @param {Answer} answer
     */
    #deliver(ticket, answer) {
        for (const watcher of [...this.#watchers]) {
            if (watcher.ticket !== ticket || !this.#watchers.delete(watcher)) continue;
            watcher.done(answer);
        }
    }

    /** @param {Iterable<string>} tickets that have had their turn */
    #rotate(tickets) {
        const done = new Set(tickets);
        const later = [...this.#watchers].filter(({ ticket }) => done.has(ticket));
        for (const watcher of later) this.#watchers.delete(watcher);
        for (const watcher of later) this.#watchers.add(watcher);
    }

    #stop() {
        this.#env.stop(this.#timer);
        this.#env.stop(this.#gathering);
        this.#gathering = null;
        this.#abort?.();
        this.#abort = null;
        this.#asked = new Map();
    }
}

/**
 * The answer to a status request.
 * @param {any} upload
 * @returns {Answer}
 */
function as_answer(upload) {
    const found = upload.error ? problem(upload.error) : null;
    return { status: found ? 400 : 200, json: upload, problem: found, retry_after: found?.retry_after ?? null };
}
