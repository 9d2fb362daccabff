// Notifies a page of changes: calls onprogress, then the subscribers, then the other callbacks that are due. An exception
// of a callback is shown in the console and does not disturb the upload. What has changed is the uploader's decision.

import { Snapshots } from "./snapshots.js";

/** @typedef {"onprogress" | "onfinished" | "onfinish" | "oncancelled" | "onerror"} CallbackName */
/** @typedef {import("../incoming.js").UploaderCallback} Callback */

export class Notifier {
    #uploader;
    #env;
    /** @type {CallbackName[]} callbacks that are due after the next onprogress */
    #due = [];
    #publishing = false;

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
        this.#due.push(...names);
    }

    /**
     * When a callback acts on the uploader, the change is published after the callback has returned.
     * @param {() => boolean} update whether anything that can be seen has changed
     */
    publish(update) {
        if (this.#publishing) return;
        this.#publishing = true;
        while (update()) {
            this.snapshots.changed();
            this.#call("onprogress");
            this.snapshots.publish();
            for (const name of this.#due.splice(0)) this.#call(name);
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
