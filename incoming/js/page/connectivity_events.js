// Detects events after which connections should be checked: the network is back, the page is visible again,
// the machine has slept. What follows from them is the listener's decision.

const TICK = 5_000;
/** Timers of hidden pages run late, by a second and more; a machine that slept is later still. */
const SLEPT = 20_000;

export class ConnectivityEvents {
    #env;
    #revive;
    /** @type {unknown} */
    #timer = null;
    #ticked = 0;

    /**
     * @param {import("./environment.js").Environment} env
     * @param {(doubtful: boolean) => void} revive called with whether connections may have been lost unnoticed
     */
    constructor(env, revive) {
        this.#env = env;
        this.#revive = revive;
        env.page?.addEventListener("online", () => revive(true));
        env.page?.addEventListener("pageshow", () => revive(false));
        env.document?.addEventListener("visibilitychange", () => {
            if (env.document?.visibilityState === "visible") revive(false);
        });
    }

    /** @param {boolean} wanted whether anything runs that sleep could interrupt */
    watch_sleep(wanted) {
        if (wanted === (this.#timer !== null)) return;
        this.#env.stop(this.#timer);
        this.#timer = null;
        if (wanted) this.#tick();
    }

    #tick() {
        this.#ticked = this.#env.wall();
        this.#timer = this.#env.after(TICK, () => {
            const slept = this.#env.wall() - this.#ticked > TICK + SLEPT;
            this.#tick();
            if (slept) this.#revive(true);
        });
    }
}
