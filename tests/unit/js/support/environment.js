// A browser that does nothing by itself: time passes when the test says so, chance is what the test says, and every
// socket and request is there to be answered.
import { setImmediate as next_turn } from "node:timers/promises";

export class FakeEnvironment {
    time = 0;
    /** Added to the time to get the date: lets the clock jump or the machine sleep. */
    epoch = 1_700_000_000_000;
    chance = 0.5;
    sockets = [];
    requests = [];
    beacons = [];
    timers = new Map();
    #next_timer = 1;
    page = new EventTarget();
    document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    storage = new FakeStorage();
    databases = null;
    crypto = null;
    changes_hidden_for = 0;
    wake_lock = null;
    version = "0.1.0";
    protocols = {};
    protocol = (url) => this.protocols[url] ?? "";
    warnings = [];
    warn = (message) => void this.warnings.push(message);

    now = () => this.time;
    wall = () => this.epoch + this.time;
    random = () => this.chance;
    after = (milliseconds, action) => {
        const timer = this.#next_timer++;
        this.timers.set(timer, { due: this.time + milliseconds, action });
        return timer;
    };
    stop = (timer) => void this.timers.delete(timer);
    open_socket = (url, protocol) => {
        const socket = new FakeSocket(url, protocol);
        this.sockets.push(socket);
        return socket;
    };
    new_request = () => {
        const request = new FakeRequest();
        this.requests.push(request);
        return request;
    };
    beacon = (url, message) => {
        this.beacons.push([url, message]);
        return true;
    };

    /** Lets time pass; timers go off in order, each at its own moment. */
    pass(milliseconds) {
        const end = this.time + milliseconds;
        for (let due; (due = this.#earliest(end)); ) {
            const [timer, { due: moment, action }] = due;
            this.timers.delete(timer);
            this.time = moment;
            action();
        }
        this.time = end;
    }

    #earliest(end) {
        return [...this.timers].filter(([, timer]) => timer.due <= end).sort((a, b) => a[1].due - b[1].due)[0];
    }

    get socket() {
        return this.sockets.at(-1);
    }

    get request() {
        return this.requests.at(-1);
    }
}

export class FakeSocket {
    bufferedAmount = 0;
    sent = [];
    closed = null;

    constructor(url, protocol) {
        this.url = url;
        this.protocol = protocol;
    }

    send(data) {
        this.sent.push(data);
    }

    close(code) {
        this.closed = code;
    }

    /** The server sends a control message. */
    say(message) {
        this.onmessage({ data: JSON.stringify(message) });
    }

    get texts() {
        return this.sent.filter((data) => typeof data === "string").map((text) => JSON.parse(text));
    }

    get chunks() {
        return this.sent.filter((data) => typeof data !== "string");
    }
}

export class FakeRequest {
    headers = {};
    upload = {};
    aborted = false;
    status = 0;
    responseText = "";
    answer_headers = {};

    open(method, url) {
        Object.assign(this, { method, url });
    }

    setRequestHeader(name, value) {
        this.headers[name] = value;
    }

    getResponseHeader(name) {
        return this.answer_headers[name] ?? null;
    }

    send(body) {
        this.body = body;
    }

    abort() {
        this.aborted = true;
    }

    answer(status, json = null, headers = {}) {
        Object.assign(this, { status, responseText: json === null ? "" : JSON.stringify(json), answer_headers: headers });
        this.onloadend();
    }
}

export class FakeStorage {
    values = new Map();

    get length() {
        return this.values.size;
    }

    key(index) {
        return [...this.values.keys()][index] ?? null;
    }

    getItem(key) {
        return this.values.get(key) ?? null;
    }

    setItem(key, value) {
        this.values.set(key, value);
    }

    removeItem(key) {
        this.values.delete(key);
    }
}

/** Waits for what promises bring about, without letting the environment's time pass. */
export async function until(condition) {
    for (let turn = 0; turn < 1000; turn++) {
        if (condition()) return;
        await next_turn();
    }
    throw new Error(`never came true: ${condition}`);
}
