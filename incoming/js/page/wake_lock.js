// Keeps the machine awake while bytes flow (Screen Wake Lock API, a W3C specification). Browsers grant the lock to
// visible pages only and release it when the page is hidden; then it is requested again. Without it nothing is lost.

export class WakeLock {
    #env;
    #wanted = false;
    /** @type {Promise<{release(): Promise<void>} | null> | null} */
    #lock = null;

    /** @param {import("./environment.js").Environment} env */
    constructor(env) {
        this.#env = env;
        env.document?.addEventListener("visibilitychange", () => {
            if (env.document?.visibilityState !== "visible") return;
            this.#release();
            this.hold(this.#wanted);
        });
    }

    /** @param {boolean} wanted */
    hold(wanted) {
        this.#wanted = wanted;
        if (!wanted) return this.#release();
        // Refused to hidden pages, on low battery and by policy: then the machine may sleep, and the upload resumes later.
        this.#lock ??= Promise.resolve(this.#env.wake_lock?.request("screen") ?? null).catch(() => null);
    }

    #release() {
        this.#lock?.then((lock) => lock?.release()).catch(() => {});
        this.#lock = null;
    }
}
