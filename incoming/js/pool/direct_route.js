// The way of parts straight to an object store, for which a module is loaded when a server first offers it: few uploads
// need it. Decides that nothing new is sent until it is there, and that all goes through the server if it does not come.

/** @typedef {import("./direct_sender.js").DirectSender} DirectSender */
/** @typedef {import("../transport/connection.js").Connection} Connection */

/** Milliseconds that an upload waits for the module. */
const LOADED_WITHIN = 10_000;

export class DirectRoute {
    /** @type {DirectSender | null} null until it is loaded */
    sender = null;
    #env;
    #scheduler;
    #load;
    #gave_up;
    /** @type {[control: Connection, part_size: number] | null} the server's offer, while the module is loaded for it */
    #offer = null;
    #is_loading = false;
    #given_up = false;
    #flowing = false;

    /**
     * @param {import("../page/environment.js").Environment} env
     * @param {import("./chunk_scheduler.js").ChunkScheduler} scheduler
     * @param {() => Promise<DirectSender>} load
     * @param {() => void} gave_up the module cannot be loaded: all goes through the server
     */
    constructor(env, scheduler, load, gave_up) {
        this.#env = env;
        this.#scheduler = scheduler;
        this.#load = load;
        this.#gave_up = gave_up;
    }

    /** Whether parts are sent so, or will be in a moment. */
    get active() {
        return this.sender?.active ?? this.#offer !== null;
    }

    /**
     * The server has offered it over this connection.
     * @param {Connection} control
     * @param {number} part_size bytes
     */
    begin(control, part_size) {
        if (this.sender) return this.sender.begin(control, part_size);
        if (this.#given_up || this.#offer || part_size <= 1) return;
        this.#offer = [control, part_size];
        this.#scheduler.reserved = true;
        if (!this.#is_loading) this.#begin_loading();
    }

    #begin_loading() {
        this.#is_loading = true;
        const timer = this.#env.after(LOADED_WITHIN, () => this.#give_up());
        this.#load().then(
            (sender) => {
                this.#env.stop(timer);
                if (!this.#given_up) this.#loaded(sender);
            },
            () => {
                this.#env.stop(timer);
                this.#give_up();
            },
        );
    }

    /** @param {DirectSender} sender */
    #loaded(sender) {
        const offer = this.#offer;
        this.#offer = null;
        this.sender = sender;
        if (offer) sender.begin(...offer);
        if (this.#flowing) sender.flow();
    }

    #give_up() {
        if (this.#given_up) return;
        this.#given_up = true;
        if (!this.#offer) return;
        this.stop();
        this.#gave_up();
    }

    /** @param {Connection} connection that is gone */
    lost(connection) {
        this.sender?.lost(connection);
        if (connection === this.#offer?.[0]) this.stop();
    }

    /** Ends everything that is under way. */
    stop() {
        this.#flowing = false;
        if (this.#offer) this.#scheduler.reserved = false;
        this.#offer = null;
        this.sender?.stop();
    }

    flow() {
        this.#flowing = true;
        this.sender?.flow();
    }
}
