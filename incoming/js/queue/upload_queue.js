// Many files, a few at a time: which upload starts next, what all of them together have done, and the actions on
// all. The uploader decides how one file is uploaded.

import { bind_members } from "../uploader/bound_members.js";
import { check_options } from "../uploader/options.js";
import { time_left } from "../uploader/rate_meter.js";
import { Snapshots } from "../uploader/snapshots.js";
import { bad_argument } from "../transport/errors.js";

/** @typedef {import("../incoming.js").Uploader} Uploader */
/** @typedef {import("../incoming.js").QueueSnapshot} QueueSnapshot */
/** @typedef {import("../incoming.js").QueueOptions} QueueOptions */
/** @typedef {import("../incoming.js").TicketFunction} TicketFunction */
/** @typedef {import("../incoming.js").ChosenFile} ChosenFile */

/** Each upload has several connections; more uploads at once would not make any of them faster. */
const DEFAULTS = { concurrency: 3, resume: true, warn_on_leave: false, paused: false };

/** In these states an upload has no place among those that run at once. */
const WITHOUT_PLACE = new Set(["idle", "paused", "arrived", "handing_over", "delayed", "processing", "finished", "cancelled", "failed"]);
const ENDED = new Set(["finished", "cancelled", "failed"]);
const FUNCTIONS = ["add", "pause", "resume", "cancel", "retry_failed", "retry", "adopt", "remove", "clear", "is_queued", "snapshot", "subscribe"];

export class UploadQueue {
    #make;
    #get_ticket;
    #options;
    /** @type {Map<Uploader, () => void>} in the order in which they were added, with what ends the subscription */
    #uploads = new Map();
    /** @type {Set<Uploader>} paused or failed, and to start again when there is a place */
    #again = new Set();
    #paused;
    #snapshots;
    #pending = false;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {(get_ticket: TicketFunction, file: File, options: import("../incoming.js").UploaderOptions) => Uploader} make
     * @param {TicketFunction} get_ticket
     * @param {QueueOptions} [options]
     */
    constructor(env, make, get_ticket, options = {}) {
        if (typeof get_ticket !== "function") throw bad_argument("the first argument of a queue is a function that gets a ticket");
        check_options("a queue", options, Object.keys(DEFAULTS));
        this.#options = { ...DEFAULTS, ...options };
        const { concurrency } = this.#options;
        if (!(concurrency >= 1)) throw bad_argument(`concurrency must be a number from 1 on; given: ${concurrency}`);
        this.#make = make;
        this.#get_ticket = get_ticket;
        this.#paused = this.#options.paused;
        this.#snapshots = new Snapshots(
            () => this.#take(),
            (error) => env.after(0, () => { throw error; }),
        );
        bind_members(this, FUNCTIONS);
    }

    /**
     * @param {Iterable<File | ChosenFile>} files
     * @returns {Uploader[]} an uploader for each, which the queue starts
     */
    add(files) {
        const { resume, warn_on_leave } = this.#options;
        const added = [];
        for (const given of files) {
            const { file, path, handle } = "file" in given ? given : { file: given, path: undefined, handle: null };
            const upload = this.#make(this.#get_ticket, file, { path, handle, resume, at_once: true });
            upload.warn_on_leave = warn_on_leave;
            added.push(this.#follow(upload));
        }
        this.#changed();
        return added;
    }

    /** @param {Uploader} upload */
    #follow(upload) {
        let state = upload.state;
        this.#uploads.set(upload, () => {});
        const end = upload.subscribe((snapshot) => {
            if (snapshot.state !== state) this.#pump_later();
            state = snapshot.state;
            this.#changed();
        });
        this.#uploads.set(upload, end);
        this.#pump_later();
        return upload;
    }

    /**
     * Add an uploader that was made elsewhere, for example by `continue_upload()`.
     * @param {Uploader} upload
     */
    adopt(upload) {
        if (!this.#uploads.has(upload)) this.#follow(upload);
        this.#changed();
        return upload;
    }

    /** Pause what runs; start nothing. */
    pause() {
        this.#paused = true;
        this.#again.clear();
        for (const upload of this.#uploads.keys()) upload.pause("pause");
        this.#changed();
    }

    /** Resume all that is paused, a few at a time. */
    resume() {
        this.#paused = false;
        for (const upload of this.#uploads.keys()) if (upload.paused) this.#again.add(upload);
        this.#pump();
        this.#changed();
    }

    /** @param {string} [reason] */
    cancel(reason = "") {
        this.#again.clear();
        for (const upload of this.#uploads.keys()) if (!upload.failed) upload.discard(reason);
        this.#changed();
    }

    retry_failed() {
        for (const upload of this.#uploads.keys()) this.retry(upload);
    }

    /**
     * Queue one that failed again; a wait for the next attempt ends now.
     * @param {Uploader} upload
     */
    retry(upload) {
        if (upload.failed) this.#again.add(upload);
        else upload.retry_now();
        this.#pump();
        this.#changed();
    }

    /**
     * Remove it from the list; cancel it if it has not ended.
     * @param {Uploader} upload
     */
    remove(upload) {
        if (!this.#uploads.has(upload)) return;
        if (!ENDED.has(upload.state)) upload.discard();
        this.#uploads.get(upload)?.();
        this.#uploads.delete(upload);
        this.#again.delete(upload);
        this.#pump();
        this.#changed();
    }

    /** Remove what has ended from the list. */
    clear() {
        for (const upload of this.#uploads.keys()) if (ENDED.has(upload.state) && !this.#again.has(upload)) this.remove(upload);
    }

    /**
     * @param {Uploader} upload
     * @returns {boolean} whether it is to start when there is a place
     */
    is_queued(upload) {
        return this.#uploads.has(upload) && (upload.state === "idle" || this.#again.has(upload));
    }

    /** A frozen copy of what can be seen: the same object until something has changed. */
    snapshot() {
        return /** @type {QueueSnapshot} */ (/** @type {unknown} */ (this.#snapshots.latest));
    }

    /**
     * @param {(snapshot: QueueSnapshot) => void} listener called at once and after changes
     * @returns {() => void} ends that
     */
    subscribe(listener) {
        if (typeof listener !== "function") throw bad_argument("subscribe() takes a function");
        return this.#snapshots.subscribe(/** @type {any} */ (listener));
    }

    #pump_later() {
        queueMicrotask(() => this.#pump());
    }

    #pump() {
        let places = this.#options.concurrency;
        const uploads = [...this.#uploads.keys()];
        for (const upload of uploads) {
            if (!WITHOUT_PLACE.has(upload.state)) places--;
            if (ENDED.has(upload.state) && !upload.failed) this.#again.delete(upload);
        }
        for (const upload of uploads) {
            if (this.#paused || places <= 0) return;
            if (!this.is_queued(upload)) continue;
            this.#again.delete(upload);
            places--;
            upload.start();
        }
    }

    /** Coalesces the changes of one task into one notification. */
    #changed() {
        this.#snapshots.changed();
        if (this.#pending) return;
        this.#pending = true;
        queueMicrotask(() => {
            this.#pending = false;
            this.#snapshots.publish();
        });
    }

    /** @returns {any} */
    #take() {
        const uploads = Object.freeze([...this.#uploads.keys()]);
        let [finished, failed, cancelled, ended, complete] = [0, 0, 0, 0, 0];
        let [bytes_total, bytes_acked, left, rate] = [0, 0, 0, 0];
        // In one pass: of a thousand small files some change at every moment.
        for (const upload of uploads) {
            if (ENDED.has(upload.state) && !this.#again.has(upload)) ended++;
            if (upload.failed) failed++;
            if (upload.cancelled) {
                cancelled++;
                continue;
            }
            if (upload.finished) finished++;
            if (upload.finished || upload.frac_complete === 1) complete++;
            bytes_total += upload.bytes_total;
            bytes_acked += upload.bytes_acked;
            if (!upload.paused && !upload.failed) left += upload.bytes_total - upload.bytes_acked;
            if (upload.state === "transferring") rate += upload.rate;
        }
        const wanted = uploads.length - cancelled;
        const all = wanted > 0 && complete === wanted;
        return {
            uploads,
            files_total: uploads.length,
            files_finished: finished,
            files_failed: failed,
            files_cancelled: cancelled,
            files_active: uploads.length - ended,
            bytes_total,
            bytes_acked,
            frac_complete: bytes_total > 0 ? bytes_acked / bytes_total : Number(all),
            rate,
            eta: time_left(left, rate),
            paused: this.#paused,
        };
    }
}
