// Notifies a page of changes: calls onprogress, then the subscribers, then the other callbacks that are due. An exception
// of a callback is shown in the console and does not disturb the upload. What has changed is the uploader's decision.

import { Snapshots } from "./snapshots.js";

/** @typedef {"onprogress" | "onfinished" | "onfinish" | "oncancelled" | "onerror"} CallbackName */
/** @typedef {import("../incoming.js").UploaderCallback} Callback */

export class Notifier {
    #uploader;
    #env;
    /** @type {CallbackName[]} callbacks that are due after the next onprogress */
    #calls = [];
    #publishing = false;
    /** @type {number | null} */
    #due = null;

    /**
     * @param {{[name in CallbackName]: Callback}} uploader
     * @param {import("../page/environment.js").Environment} env
     * @param {() => import("../incoming.js").UploaderSnapshot} take a new snapshot
     */
    constructor(uploader, env, take) {
        this.#uploader = uploader;
        this.#env = env;
        this.snapshots = new Snapshots(take, (error) => this.#report(error));
    }

    /** @param {CallbackName[]} names to be called once what they are about can be seen */
    add(...names) {
        this.#calls.push(...names);
    }

    /**
     * When a callback acts on the uploader, the change is published after the callback has returned.
     * @param {() => boolean} update whether anything that can be seen has changed
     * @param {() => number | null} due moment of the next try: onprogress is not called for a change of it alone
     */
    publish(update, due) {
        if (this.#publishing) return;
        this.#publishing = true;
        while (update()) {
            this.#due = due();
            this.snapshots.changed();
            this.#call("onprogress");
            this.snapshots.publish();
            for (const name of this.#calls.splice(0)) this.#call(name);
        }
        if (this.#due !== due()) {
            this.#due = due();
            this.snapshots.changed();
            this.snapshots.publish();
        }
        this.#publishing = false;
    }

    /** @param {CallbackName} name */
    #call(name) {
        try {
            this.#uploader[name]?.(/** @type {any} */ (this.#uploader));
        } catch (error) {
            this.#report(error);
        }
    }

    /** @param {unknown} error */
    #report(error) {
        this.#env.after(0, () => {
            throw error;
        });
    }
}
