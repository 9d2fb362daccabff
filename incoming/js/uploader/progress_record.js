// Stores the progress of a running upload in this browser, so that it can be resumed after the page was closed. Decides
// when an entry is written and when it is removed.

import { FILE_CHANGED_WHILE_READING, TAKEN_OVER, TICKET_IS_OVER } from "../transport/errors.js";

export class ProgressRecord {
    #page;
    #file;
    #handle;
    #can_continue = false;

    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {File} file
     * @param {FileSystemFileHandle | null} handle
     */
    constructor(page, file, handle) {
        this.#page = page;
        this.#file = file;
        this.#handle = handle;
    }

    /**
     * @param {string} ticket
     * @param {import("./state_machine.js").Phase} phase
     * @param {number} code of the error that ended it, or 0
     * @param {{connected: boolean, bytes_acked: number}} progress
     * @param {boolean} at_once even if it was noted a moment ago
     */
    note(ticket, phase, code, { connected, bytes_acked }, at_once) {
        const { unfinished } = this.#page;
        if (phase === "finished" || phase === "cancelled") return unfinished.forget(ticket);
        if (phase === "failed") {
            // The client that has taken it over keeps the entry. What has arrived of a changed file matches no file any more.
            const over = code === FILE_CHANGED_WHILE_READING || TICKET_IS_OVER.has(code);
            if (code !== TAKEN_OVER && over) unfinished.forget(ticket);
        } else if (ticket && (connected || at_once)) {
            unfinished.note(ticket, this.#file, { bytes_acked, can_continue: this.#can_continue }, at_once);
        }
    }

    /**
     * @param {string} ticket
     * @param {() => void} kept called when the file's handle was kept
     */
    async keep_handle(ticket, kept) {
        const known = this.#page.unfinished.list().find((entry) => entry.ticket === ticket);
        this.#can_continue ||= known?.can_continue ?? false;
        if (!this.#handle || this.#can_continue || !this.#page.store.enabled) return;
        this.#can_continue = await this.#page.handles.keep(ticket, this.#handle);
        if (this.#can_continue) kept();
    }
}
