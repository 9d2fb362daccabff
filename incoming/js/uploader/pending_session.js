// Stands for the session of an upload until the module is loaded that has it: nothing has been sent, and an upload that is
// started waits, as a session waits for its server. When the module is loaded is the loader's decision.

import { shown_file } from "../file/shown_file.js";

/** @typedef {import("../session/session.js").Session} Session */
/** @typedef {import("../session/transfer.js").Transfer} Transfer */
/** @typedef {import("../session/session.js").Owner & {loaded: (session: Session) => void}} Owner `loaded`: it takes the place of this one */

const NOTHING_SENT = { complete: false, bytes_acked: 0, bytes_ahead: 0, chunks_acked: 0, chunks_ahead: 0, restart() {}, confirm() {} };

export class PendingSession {
    connected = false;
    carries = false;
    flowing = false;
    /** @type {""} */
    transport = "";
    bytes_received = 0;
    limit = null;
    path = { protocol: "", connections: 0, bytes_buffered: 0, ack_delay: null, lag: 0, reading: 0, server: null };
    scheduler = NOTHING_SENT;
    #loader;
    #begin;
    #waiter;
    #waits = false;

    /**
     * @param {import("../page/page_context.js").PageContext} page
     * @param {{readonly ticket: string}} upload whose ticket is known from its start on
     * @param {File} file
     * @param {() => number} max_rate bytes a second, 0 for none
     * @param {Owner} owner
     */
    constructor(page, upload, file, max_rate, owner) {
        // Now, and not when the module is there: the file may have been changed by then.
        const shown = shown_file(page.env, file);
        this.#loader = page.transfer_loader;
        this.#begin = (/** @type {Transfer} */ transfer) => {
            this.#waits = false;
            const session = transfer.session(upload, file, shown, max_rate, owner);
            owner.loaded(session);
            session.start();
        };
        this.#waiter = {
            loaded: (/** @type {Transfer} */ transfer) => {
                this.#begin(transfer);
                owner.attempting();
            },
            failed: owner.changed,
            refused: owner.failed,
            attempting: owner.attempting,
        };
    }

    get due() {
        return this.#waits ? this.#loader.due : null;
    }

    get problem() {
        return this.#waits ? this.#loader.problem : null;
    }

    start() {
        const { transfer } = this.#loader;
        if (transfer) return this.#begin(transfer);
        this.#waits = true;
        this.#loader.wait(this.#waiter);
    }

    stop() {
        this.#waits = false;
        this.#loader.leave(this.#waiter);
    }

    pause() {
        this.stop();
    }

    retry_now() {
        if (this.#waits) this.#loader.retry_now();
    }

    /** The page revives the loader. */
    revive() {}

    /** Without a connection an uploader cancels by itself. */
    cancel() {}
}
