// A queue as a store for frameworks: one frozen state with a plain copy of each upload, new after each change. Also pauses
// the uploads when no component shows them any more. Decides nothing about uploads.

import { Queue } from "../index.js";

/** @typedef {import("./store.js").IncomingState} IncomingState */
/** @typedef {import("./store.js").UploadEntry} UploadEntry */

/**
 * @param {import("../incoming.js").TicketFunction} get_ticket
 * @param {import("../incoming.js").QueueOptions} [options]
 * @returns {import("./store.js").IncomingStore}
 */
export function incoming_store(get_ticket, options) {
    const queue = Queue(get_ticket, options);
    /** @type {WeakMap<import("../incoming.js").Uploader, UploadEntry>} the last entry of each upload */
    const entries = new WeakMap();
    let keys = 0;
    let all = queue.snapshot();
    let state = Object.freeze({ ...all, uploads: /** @type {readonly UploadEntry[]} */ ([]) });
    let showing = 0;
    let hidden = false;

    /** @param {import("../incoming.js").Uploader} uploader */
    function entry(uploader) {
        const { snapshot, key = ++keys } = entries.get(uploader) ?? {};
        const latest = uploader.snapshot();
        if (snapshot !== latest) entries.set(uploader, Object.freeze({ ...latest, snapshot: latest, uploader, key }));
        return /** @type {UploadEntry} */ (entries.get(uploader));
    }

    function snapshot() {
        if (all !== queue.snapshot()) {
            all = queue.snapshot();
            state = Object.freeze({ ...all, uploads: Object.freeze(all.uploads.map(entry)) });
        }
        return state;
    }

    /** React's StrictMode hides a component and shows it again at once. */
    function pause_if_hidden() {
        if (showing > 0 || queue.snapshot().paused) return;
        hidden = true;
        queue.pause();
    }

    function show() {
        showing++;
        if (hidden) queue.resume();
        hidden = false;
        return () => void (--showing || queueMicrotask(pause_if_hidden));
    }

    return { queue, snapshot, show, subscribe: (listener) => queue.subscribe(() => listener(snapshot())) };
}
