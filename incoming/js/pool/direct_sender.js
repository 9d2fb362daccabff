// Sends whole parts straight to an object store, several at once, with URLs that the server signs over a connection to
// it. Decides which part goes when, and when this is of no use. What has arrived only the server decides, which asks the
// store itself: the answers to these requests need not be readable.

import { request } from "../transport/http_request.js";
import { MAX_PARTS } from "../transport/messages.js";
import { ConcurrencyController } from "./concurrency_controller.js";

/** @typedef {[number, number]} Range */
/** @typedef {import("../transport/connection.js").Connection} Connection */

/**
 * @typedef {object} Owner
 * @property {(part: Range) => Promise<Blob | ArrayBuffer | Uint8Array<ArrayBuffer>>} read rejected when the file is not what it was
 * @property {() => boolean} may_complete asked before the last bytes are sent; `pump` again when the answer has changed
 * @property {(connections: number) => number} share of the connections of all the page's uploads
 * @property {() => void} progressed bytes have left the browser, or a part was stored
 * @property {() => void} unreadable the file cannot be read
 * @property {() => void} gave_up nothing gets through: the rest goes through the server
 */

/**
 * A part on its way.
 * @typedef {object} Slot
 * @property {number} part from 1 on
 * @property {Range} range
 * @property {"waiting" | "sending" | "checking"} state
 * @property {number} loaded bytes that have left the browser
 * @property {number} moved when that was more for the last time
 * @property {(() => void) | null} abort
 */

/** Browsers open six connections to a host over HTTP/1.1. */
const MOST = 6;
/** Parts for which URLs are asked before there is a connection for them: at least, and on a quick line. */
const AHEAD = 2;
const MOST_AHEAD = 64;
/** Milliseconds between two questions for URLs: sooner, more are asked for at a time, and later fewer. */
const [ASKED_QUICKLY, ASKED_SLOWLY] = [5_000, 30_000];
/** Failures in a row, while our own server answers and the store has nothing of it, after which this is of no use. */
const PATIENCE = 3;
const RETRY_AFTER = 1_000;
const RETRY_AT_LAST = 10_000;
/** Milliseconds without a byte leaving after which a request is tried again. */
const SILENCE = 30_000;
const LOOK_INTERVAL = 5_000;
/**
 * Parts that were just stored are reported together, the last ones at once. A report costs the server a request to the
 * store and a synced commit, so each waits twice as long as the one before. What is not reported is found at the hello.
 */
const REPORT_AFTER = 300;
const REPORT_AT_LAST_AFTER = 4_800;
/** Times that the server is asked for a part that the store has taken and does not list. */
const LOOKS = 3;
/** Of a URL's life it is used for so much, so that no PUT begins too late. */
const USED_LIFE = 0.8;

export class DirectSender {
    /** Whether parts are sent so. */
    active = false;
    #env;
    #scheduler;
    #bucket;
    #owner;
    #count = new ConcurrencyController();
    /** @type {Connection | null} over which the server signs */
    #control = null;
    #given_up = false;
    #flowing = false;
    #part_size = 1;
    /** @type {Set<Slot>} */
    #slots = new Set();
    /** @type {Map<number, {url: string, until: number}>} */
    #urls = new Map();
    /** @type {Set<number>} parts whose URLs were asked for */
    #asked = new Set();
    /** @type {Map<number, number>} parts that the store has taken and the server has not seen, and how often it looked */
    #stored = new Map();
    #ahead = AHEAD;
    /** When parts were last taken, -Infinity after a failure. */
    #taken_at = 0;
    /** @type {Set<number>} parts that the server must look for */
    #to_report = new Set();
    /** In a row. Those at the same time count as one, once the store has taken a part: it may have been away. */
    #failures = 0;
    /** Whether the store has taken a part. */
    #works = false;
    /** In a row, each twice as long as the last one. */
    #pauses = 0;
    #pause_until = 0;
    /** @type {unknown} */
    #timer = null;
    /** @type {unknown} */
    #report_timer = null;
    #report_at = 0;
    #report_after = REPORT_AFTER;
    /** @type {unknown} */
    #watch_timer = null;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {import("./token_bucket.js").TokenBucket} bucket
     * @param {Owner} owner
     */
    constructor(env, scheduler, bucket, owner) {
        this.#env = env;
        this.#scheduler = scheduler;
        this.#bucket = bucket;
        this.#owner = owner;
    }

    /** Bytes of parts on their way that have left the browser. */
    get loaded() {
        let sum = 0;
        for (const { loaded } of this.#slots) sum += loaded;
        return sum;
    }

    /**
     * The server has offered it over this connection.
     * @param {Connection} control
     * @param {number} part_size bytes
     */
    begin(control, part_size) {
        if (this.#given_up || this.active || part_size <= 1) return;
        this.#control = control;
        this.#part_size = part_size;
        this.#report_after = REPORT_AFTER;
        this.active = this.#scheduler.reserved = true;
        this.#count.begin(this.#env.now(), MOST, 0);
        this.#watch();
    }

    /** @param {Connection} connection that is gone */
    lost(connection) {
        if (connection === this.#control) this.stop();
    }

    /** Ends everything that is under way. */
    stop() {
        this.#flowing = this.active = this.#scheduler.reserved = false;
        this.#control = null;
        for (const timer of [this.#timer, this.#report_timer, this.#watch_timer]) this.#env.stop(timer);
        for (const slot of this.#slots) this.#release(slot);
        for (const part of this.#stored.keys()) this.#scheduler.settle_part(this.#range(part), false);
        for (const memory of [this.#urls, this.#asked, this.#stored, this.#to_report]) memory.clear();
    }

    flow() {
        this.#flowing = true;
        this.pump();
    }

    /** Begins what may begin. */
    pump() {
        if (!this.active || !this.#flowing) return;
        this.#env.stop(this.#timer);
        const limit = Math.min(MOST, this.#owner.share(MOST), this.#count.target);
        if (this.#slots.size < limit + AHEAD) this.#take_up_to(limit);
        this.#ask();
        for (const slot of this.#slots) {
            if (this.#sending >= limit) break;
            if (slot.state !== "waiting" || !this.#url(slot.part)) continue;
            const wait = this.#wait();
            if (wait > 0) return void (this.#timer = this.#env.after(wait, () => this.pump()));
            this.#send(slot);
        }
    }

    /** Milliseconds until the next part may go. */
    #wait() {
        const now = this.#env.now();
        return Math.max(this.#pause_until - now, this.#bucket.wait(now));
    }

    get #sending() {
        let sum = 0;
        for (const { state } of this.#slots) if (state === "sending") sum++;
        return sum;
    }

    /** @param {number} limit requests at once, besides which some parts are taken ahead */
    #take_up_to(limit) {
        const now = this.#env.now();
        const since = now - this.#taken_at;
        if (this.#slots.size === 0 || since > ASKED_SLOWLY) this.#ahead = AHEAD;
        else if (since < ASKED_QUICKLY) this.#ahead = Math.min(2 * this.#ahead, MOST_AHEAD);
        while (this.#slots.size < limit + this.#ahead && this.#take()) this.#taken_at = now;
    }

    /** @returns {boolean} whether there was a part */
    #take() {
        if (this.#scheduler.bytes_missing <= this.#part_size && !this.#owner.may_complete()) return false;
        /** @type {Slot} */
        const slot = { part: 0, range: [0, 0], state: "waiting", loaded: 0, moved: 0, abort: null };
        const range = this.#scheduler.take_part(slot);
        if (!range) return false;
        slot.range = range;
        slot.part = range[0] / this.#part_size + 1;
        this.#slots.add(slot);
        return true;
    }

    /** Asks for URLs that are missing. */
    #ask() {
        const missing = [...this.#slots].filter(({ state, part }) => state === "waiting" && !this.#url(part) && !this.#asked.has(part));
        if (missing.length === 0) return;
        for (const { part } of missing) this.#asked.add(part);
        this.#control?.about_parts?.("sign", missing.map(({ part }) => part).slice(0, MAX_PARTS));
    }

    /** @param {number} part */
    #url(part) {
        const known = this.#urls.get(part);
        return known && known.until > this.#env.now() ? known.url : "";
    }

    /**
     * @param {[number, string][]} urls
     * @param {number} expires_in seconds
     */
    signed(urls, expires_in) {
        const until = this.#env.now() + expires_in * 1000 * USED_LIFE;
        for (const [part, url] of urls) {
            this.#urls.set(part, { url, until });
            this.#asked.delete(part);
        }
        this.pump();
    }

    /** @param {Slot} slot */
    async #send(slot) {
        const url = this.#url(slot.part);
        this.#urls.delete(slot.part);
        this.#bucket.spend(slot.range[1] - slot.range[0]);
        slot.state = "sending";
        slot.moved = this.#env.now();
        const body = await this.#owner.read(slot.range).catch(() => null);
        if (!this.#slots.has(slot)) return;
        if (!body) return this.#owner.unreadable();
        const on_sent = (/** @type {{loaded: number}} */ { loaded }) => this.#moved(slot, loaded);
        slot.abort = request(this.#env, { method: "PUT", url, body, on_sent }, ({ status }) => {
            slot.abort = null;
            if (status >= 200 && status < 300) this.#took(slot);
            else this.#failed(slot, status >= 500);
        });
    }

    /**
     * @param {Slot} slot
     * @param {number} loaded
     */
    #moved(slot, loaded) {
        if (loaded > slot.loaded) slot.moved = this.#env.now();
        slot.loaded = Math.min(loaded, slot.range[1] - slot.range[0]);
        this.#owner.progressed();
    }

    /** @param {Slot} slot */
    #took(slot) {
        this.#worked();
        this.#slots.delete(slot);
        this.#scheduler.store(slot, slot.range);
        this.#stored.set(slot.part, 0);
        this.#count.acked(this.#env.now(), slot.range[1] - slot.range[0], this.#sending + 1);
        this.#owner.progressed();
        this.pump();
        this.#report(slot.part, this.#slots.size > 0 ? this.#report_after : 0);
    }

    #worked() {
        this.#works = true;
        this.#failures = this.#pauses = 0;
    }

    /**
     * No answer, or a refusal: a browser tells a page the same of an expired URL, a lost connection and a missing CORS
     * rule. The server looks whether the store has the part all the same, which shows also that our own server answers.
     * @param {Slot} slot
     * @param {boolean} busy whether the store has said that it is
     */
    #failed(slot, busy) {
        slot.state = "checking";
        slot.loaded = 0;
        this.#taken_at = -Infinity;
        const now = this.#env.now();
        const is_first = now >= this.#pause_until;
        if (!busy && (is_first || !this.#works)) this.#failures++;
        if (!busy) this.#urls.clear(); // if the time of one was over, that of others is
        if (is_first) this.#pause_until = now + Math.min(RETRY_AT_LAST, RETRY_AFTER * 2 ** this.#pauses++);
        this.#report(slot.part, 0);
    }

    /**
     * @param {number} part
     * @param {number} after milliseconds
     */
    #report(part, after) {
        const at = this.#env.now() + after;
        if (this.#to_report.size === 0 || at < this.#report_at) {
            this.#env.stop(this.#report_timer);
            this.#report_at = at;
            this.#report_timer = this.#env.after(after, () => this.#report_all());
        }
        this.#to_report.add(part);
    }

    #report_all() {
        this.#report_after = Math.min(2 * this.#report_after, REPORT_AT_LAST_AFTER);
        const parts = [...this.#to_report].slice(0, MAX_PARTS);
        for (const part of parts) this.#to_report.delete(part);
        this.#control?.about_parts?.("sent", parts);
        if (this.#to_report.size > 0) this.#report_timer = this.#env.after(0, () => this.#report_all());
    }

    /**
     * The server has seen a part.
     * @param {Range} range
     * @returns {boolean} whether it is one of these
     */
    seen(range) {
        if (!this.active) return false;
        const part = range[0] / this.#part_size + 1;
        const slot = this.#slot(part);
        if (!slot && !this.#stored.has(part)) return false;
        if (slot) this.#release(slot);
        this.#stored.delete(part);
        this.#asked.delete(part);
        this.#scheduler.settle_part(range, true);
        this.#worked();
        return true;
    }

    /** @param {number[]} parts that the server has looked for and not seen */
    unseen(parts) {
        if (!this.active) return;
        for (const part of parts) {
            const slot = this.#slot(part);
            const looks = this.#stored.get(part);
            if (slot?.state === "checking") this.#release(slot);
            else if (looks !== undefined) this.#doubt(part, looks + 1);
        }
        if (this.#failures >= PATIENCE) return this.#give_up();
        this.pump();
    }

    /**
     * The store has taken a part and does not list it, yet or any more.
     * @param {number} part
     * @param {number} looks
     */
    #doubt(part, looks) {
        this.#stored.set(part, looks);
        if (looks < LOOKS) return this.#report(part, RETRY_AFTER);
        this.#stored.delete(part);
        this.#failures++;
        this.#scheduler.settle_part(this.#range(part), false);
    }

    #give_up() {
        this.#given_up = true;
        this.stop();
        this.#owner.gave_up();
    }

    /** @param {number} part */
    #slot(part) {
        return [...this.#slots].find((slot) => slot.part === part);
    }

    /**
     * @param {number} part whole ones only
     * @returns {Range}
     */
    #range(part) {
        return [(part - 1) * this.#part_size, part * this.#part_size];
    }

    /** @param {Slot} slot */
    #release(slot) {
        slot.abort?.();
        this.#slots.delete(slot);
        this.#scheduler.drop(slot);
    }

    /** Requests of which nothing leaves the browser are tried again. */
    #watch() {
        this.#watch_timer = this.#env.after(LOOK_INTERVAL, () => {
            const now = this.#env.now();
            for (const slot of [...this.#slots]) {
                if (slot.state !== "sending" || !slot.abort || now - slot.moved < SILENCE) continue;
                slot.abort();
                slot.abort = null;
                this.#failed(slot, false);
            }
            this.#watch();
        });
    }
}
