// Keeps one upload connected: opens connections, says hello, comes back after every loss, falls back to HTTP and stops
// for good on what cannot be mended. What the user may do and is told is the uploader's business.

import { Crowd } from "./crowd.js";
import { ASK_AGAIN } from "./errors.js";
import { Lanes } from "./lanes.js";
import { has_arrived, is_receiving, reason_follows, session_name } from "./messages.js";
import { Pace } from "./pace.js";
import { Reconnection } from "./reconnection.js";
import { Scheduler } from "./scheduler.js";
import { Standstill } from "./standstill.js";
import { TokenBucket } from "./token_bucket.js";
import { TransportChoice } from "./transport_choice.js";

/** @typedef {import("./lanes.js").Lane} Lane */
/** @typedef {import("./messages.js").Welcome} Welcome */
/** @typedef {import("./messages.js").Outcome} Outcome */
/** @typedef {import("./errors.js").Problem} Problem */

/**
 * @typedef {object} Owner
 * @property {() => void} changed something observable, at the end of each event
 * @property {(outcome: Outcome) => void} told where the server says the upload is
 * @property {(problem: Problem) => void} failed beyond repair; the session has stopped
 * @property {() => void} unanswered a cancel may not have reached the server; the session has stopped
 */

const CANCEL_ANSWERED_WITHIN = 8_000;

export class Session {
    #page;
    #file;
    #check;
    #owner;
    #lanes;
    #choice;
    #crowd;
    #reconnection;
    #standstill;
    #id;
    /** @type {number | undefined} */
    #epoch;
    /** @type {Welcome | null} */
    #limits = null;
    #running = false;
    #connected = false;
    #connected_at = 0;
    #cancelling = false;
    /** @type {unknown} */
    #cancel_timer = null;
    /** Whether the server, by its last word, still waits for bytes. */
    #receiving = true;
    /** @type {Problem | null} why it is waiting, if the server said why */
    problem = null;

    /**
     * @param {import("./page.js").Page} page
     * @param {string} ticket
     * @param {File} file
     * @param {import("./file_check.js").FileCheck} check
     * @param {() => number} max_rate bytes a second, 0 for none
     * @param {Owner} owner
     */
    constructor(page, ticket, file, check, max_rate, owner) {
        this.#page = page;
        this.#file = file;
        this.#check = check;
        this.#owner = owner;
        this.#id = session_name(page.env.random);
        this.#reconnection = new Reconnection(page.env, check, {
            connect: () => this.#lanes.open(this.#choice.kind, this.#hello()),
            failed: (problem) => this.#fail(problem),
        });
        this.#choice = new TransportChoice(page.transports);
        this.scheduler = new Scheduler(file.size);
        const pace = new Pace();
        const bucket = new TokenBucket(() => [max_rate(), this.#limits?.max_rate ?? 0]);
        this.#lanes = new Lanes(page.env, this.scheduler, pace, bucket, {
            connect: (kind, listener) => page.connect(kind, ticket, file, listener),
            welcomed: (lane, welcome) => this.#welcomed(lane, welcome),
            acked: (lane, bytes) => this.#acked(lane, bytes),
            told: (outcome) => this.#told(outcome),
            may_complete: () => check.confirmed((problem) => this.#confirmed(problem)),
            lost: (lane, problem, oldest) => this.#lane_lost(lane, problem, oldest),
        });
        this.#crowd = new Crowd(page, this.#lanes, this.scheduler, pace, bucket, this.#choice, () => this.#hello());
        this.#standstill = new Standstill(page, ticket, {
            waiting: () => this.scheduler.chunks_ahead > 0,
            swallowed: () => {
                this.#choice.swallowed();
                this.#anew();
            },
            doubtful: () => this.#anew(),
        });
    }

    get connected() {
        return this.#connected;
    }

    /** @returns {"websocket" | "http" | ""} */
    get transport() {
        return this.#lanes.welcomed[0]?.connection.kind ?? "";
    }

    /** Whether chunks are on their way. */
    get flowing() {
        return this.#connected && !this.scheduler.complete;
    }

    /** Takes the upload over from whoever else holds its ticket. */
    start() {
        this.#running = true;
        this.#epoch = undefined;
        this.problem = null;
        this.#reconnection.reset();
        this.#reconnection.now();
    }

    /** Without a word to the server. Nothing that is pending happens any more. */
    stop() {
        this.#halt();
        this.#lanes.close();
    }

    pause() {
        this.#halt();
        const connection = this.#lanes.quickest;
        connection?.pause();
        this.#lanes.close(connection);
    }

    /** @param {string} reason */
    cancel(reason) {
        this.#cancelling = true;
        this.#standstill.stop();
        this.#lanes.hold();
        this.#lanes.quickest?.cancel(reason);
        this.#cancel_timer = this.#page.env.after(CANCEL_ANSWERED_WITHIN, () => this.#unanswered());
    }

    /**
     * A moment in which connecting may succeed. It ends no wait that the server asked for.
     * @param {boolean} doubtful whether connections may have died unnoticed
     */
    revive(doubtful) {
        if (!this.#running || this.#cancelling) return;
        if (this.#connected && this.#lanes.count > 0) {
            if (doubtful) this.#lanes.check();
        } else if ((doubtful || this.#lanes.count === 0) && this.problem?.retry_after == null) {
            // An attempt that was begun without a network takes its time to fail, and then there would be a wait.
            this.#lanes.close();
            this.#reconnection.now();
        }
    }

    #halt() {
        this.#running = false;
        this.#connected = false;
        this.#end_cancel();
        this.#reconnection.stop();
        this.#standstill.stop();
    }

    #end_cancel() {
        this.#cancelling = false;
        this.#page.env.stop(this.#cancel_timer);
    }

    /** @returns {import("./messages.js").Hello} */
    #hello() {
        return { session: this.#id, epoch: this.#epoch, ...this.#check.identity };
    }

    /** @param {Problem | null} problem of the file that is about to become complete */
    #confirmed(problem) {
        if (!this.#running) return;
        if (problem) this.#fail(problem);
        else this.#lanes.pump();
    }

    /**
     * @param {Lane} lane
     * @param {Welcome} welcome
     */
    #welcomed(lane, welcome) {
        this.#limits = welcome;
        this.#epoch = welcome.epoch;
        const first = !this.#connected;
        this.#choice.welcomed(lane.connection.kind);
        this.#crowd.welcomed(lane, first);
        if (first) {
            this.#connected_at = this.#page.env.now();
            this.scheduler.restart();
        }
        this.#connected = true;
        this.problem = null;
        this.scheduler.confirm(welcome.extents);
        this.#receiving = is_receiving(welcome.state);
        // This further connection was on its way when a cancel was said: that the server still receives is no answer to it.
        if (this.#cancelling && this.#receiving) return this.#owner.changed();
        if (!reason_follows(welcome.state)) this.#told({ state: welcome.state, reason: "", code: null });
        if (!this.#running) return;
        if (this.#receiving) this.#lanes.flow();
        this.#after_progress();
        this.#owner.changed();
    }

    /**
     * @param {Lane} lane
     * @param {number} bytes
     */
    #acked(lane, bytes) {
        this.#reconnection.reset();
        this.#choice.heard(lane.connection.kind);
        this.#standstill.moved();
        if (this.#limits && !this.#cancelling) this.#crowd.acked(lane, bytes, this.#limits);
        this.#after_progress();
        this.#owner.changed();
    }

    #after_progress() {
        if (this.#cancelling || !this.#running || !this.#receiving) return;
        if (this.scheduler.complete) this.#standstill.await_arrival();
        else if (this.transport === "websocket") this.#standstill.watch_chunks();
    }

    #anew() {
        this.#lanes.close();
        this.#connected = false;
        this.#reconnection.now();
        this.#owner.changed();
    }

    /** @param {Outcome} outcome */
    #told(outcome) {
        this.#receiving = is_receiving(outcome.state);
        if (!this.#receiving) {
            this.#lanes.hold();
            this.#standstill.stop();
            if (has_arrived(outcome.state)) this.scheduler.confirm([[0, this.#file.size]]);
        }
        this.#owner.told(outcome);
    }

    /**
     * @param {Lane} lane
     * @param {Problem | null} problem
     * @param {[number, number] | undefined} oldest chunk that was on its way
     */
    async #lane_lost(lane, problem, oldest) {
        if (problem && !problem.retry && !ASK_AGAIN.has(problem.code)) return this.#fail(problem);
        const { attempt } = this.#reconnection;
        if (!problem && oldest) {
            const found = await this.#check.doubt(oldest);
            if (attempt !== this.#reconnection.attempt) return;
            if (found) return this.#fail(found);
            this.#choice.unheard();
        }
        if (this.#lanes.welcomed.length > 0) {
            this.#crowd.lost();
            return this.#owner.changed();
        }
        const { kind } = lane.connection;
        // Where the other kind is tried at once nothing that is shown has changed: it is still the same attempt.
        if (!problem && !this.#connected && this.#choice.failed(kind)) return this.#reconnection.now();
        if (!problem && this.#connected) this.#choice.cut(kind, this.#page.env.now() - this.#connected_at);
        this.#lost(problem);
        this.#owner.changed();
    }

    /** @param {Problem | null} problem */
    #lost(problem) {
        this.#connected = false;
        this.#standstill.stop();
        this.#lanes.close();
        if (this.#cancelling && !(problem && ASK_AGAIN.has(problem.code))) return this.#unanswered();
        this.#end_cancel();
        if (problem?.retry) this.problem = problem;
        this.#reconnection.later(problem?.retry_after);
    }

    #unanswered() {
        this.stop();
        this.#owner.unanswered();
    }

    /** @param {Problem} problem */
    #fail(problem) {
        this.stop();
        this.#owner.failed(problem);
    }
}
