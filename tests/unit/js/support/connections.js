// Plays the two transports and the server behind them: a script says what each connection reports.
import { FakeEnvironment, until } from "./environment.js";
import { PageContext } from "../../../../incoming/js/page/page_context.js";
import * as transfer_module from "../../../../incoming/js/session/transfer.js";
import { Uploader } from "../../../../incoming/js/uploader/uploader.js";

export class FakeConnection {
    buffered = 0;
    reads = false;
    protocol = "";
    /** @type {string[]} */
    reports = [];
    hello = null;
    chunks = [];
    calls = [];
    welcomed = false;

    constructor(kind, listener) {
        this.kind = kind;
        this.depth = kind === "http" ? 1 : Infinity;
        this.listener = listener;
    }

    open(hello, whole = false) {
        this.hello = hello;
        this.whole = whole;
    }

    send(chunk) {
        this.chunks.push(chunk);
    }

    pause() {
        this.calls.push("pause");
    }

    report(limit) {
        this.reports.push(limit);
    }

    cancel(reason) {
        this.calls.push(`cancel ${reason}`);
    }

    check() {
        this.calls.push("check");
    }

    close() {
        this.calls.push("close");
    }

    get open_still() {
        return !this.calls.includes("close") && !this.calls.includes("pause");
    }

    welcome(changes = {}) {
        this.welcomed = true;
        this.listener.welcome({ ...WELCOME, ...changes });
    }

    /** Acknowledges chunks, by default all that are on their way. */
    ack(chunks = this.chunks.splice(0)) {
        this.listener.ack(chunks);
    }

    state(state, reason = "", code = null) {
        this.listener.state({ state, reason, code });
    }

    /** What the server says of the bytes on their way. */
    path(figures = {}) {
        this.listener.path({ ...PATH, ...figures });
    }

    lose(problem = null) {
        this.listener.closed(problem);
    }
}

export const PATH = {
    limit: "",
    seconds: 5,
    rate: 1_000_000,
    delay: 0.02,
    pending: 0,
    held: 0,
    blocked: 0,
    writing: 0.1,
    committing: 0.1,
    late: 0,
    busy: 0.1,
    rtt: 0.045,
    retransmits: 0,
    out_of_order: 3,
};

export const WELCOME = {
    type: "welcome",
    epoch: 1,
    state: "uploading",
    size: null,
    extents: [],
    chunk_min: 64 * 1024,
    chunk_max: 8 * 1024 * 1024,
    window: 64 * 1024 * 1024,
    connections: 16,
    ping_interval: 20,
    max_rate: 0,
};

/** A page that has all of the library, as after a moment. */
export function loaded_page(env) {
    const page = new PageContext(env, { origin: "https://app.example", script: null });
    page.transfer_loader.provide(transfer_module);
    return page;
}

/** A page whose connections are the test's. */
export class Stage {
    env = new FakeEnvironment();
    page = loaded_page(this.env);
    servers = this.page.transfer_loader.transfer.servers;
    connections = [];

    constructor() {
        this.servers.connect = (kind, ticket, file, listener) => {
            const connection = new FakeConnection(kind, listener);
            connection.ticket = ticket;
            this.connections.push(connection);
            return connection;
        };
    }

    get connection() {
        return this.connections.at(-1);
    }

    /** Those that nobody has closed. */
    get open() {
        return this.connections.filter((connection) => connection.open_still);
    }

    uploader(size = 1_000_000, { handle, at_once, ...file } = {}) {
        const uploader = new Uploader(this.page, "ticket-1", file_of(size, file), { handle, at_once });
        this.calls = recorded(uploader);
        return uploader;
    }

    async connected(count = this.connections.length + 1) {
        await until(() => this.connections.length >= count && this.connection.hello);
        return this.connection;
    }

    /** An uploader whose first connection the server has answered on. */
    async transferring(size, welcome) {
        const uploader = this.uploader(size).start();
        const connection = await this.connected();
        connection.welcome(welcome);
        return { uploader, connection };
    }

    /** Answers every chunk until all have arrived: the last ones come when the file has been looked at. */
    async all_acked(uploader) {
        await until(() => {
            this.ack_all();
            return uploader.frac_complete === 1;
        });
    }

    /** Answers every chunk on every open connection until none is on its way. */
    ack_all() {
        for (let busy = true; busy; ) {
            busy = false;
            for (const connection of this.open) {
                if (!connection.welcomed || !connection.chunks.length) continue;
                busy = true;
                this.env.time += 5;
                connection.ack();
            }
        }
    }
}

/** A file as connections see it; null cannot be read. */
export function source_of(content = new Uint8Array(1000)) {
    const blob = content && new Blob([content]);
    const read = ([start, end]) => blob?.slice(start, end) ?? Promise.reject(new Error("gone"));
    const whole = async () => content ?? Promise.reject(new Error("gone"));
    return { read: async (chunk) => read(chunk), whole, doubt: async () => null };
}

export function file_of(size, { name = "film.mp4", lastModified = 1_600_000_000_000 } = {}) {
    return new File([new Uint8Array(size)], name, { lastModified });
}

/** Records each callback with what the page can see at that moment. */
function recorded(uploader) {
    const calls = [];
    for (const name of ["onprogress", "onfinished", "onfinish", "oncancelled", "onerror"]) {
        uploader[name] = (seen) => calls.push({ name, seen: { ...seen } });
    }
    return Object.assign(calls, {
        names: () => calls.map((call) => call.name).filter((name) => name !== "onprogress"),
    });
}
