// The operators' status page: asks every second how things are and shows it. Whatever comes from clients, file names
// above all, is only ever set as text. Decides nothing about uploads.

import { drawTraffic } from "./traffic.js";
import { readableDuration, readableSize, visible } from "./readable.js";

const INTERVAL = 1000;
const PATIENCE = 8000;
/** Milliseconds for which a button that destroys something waits for the second click. */
const SURE_FOR = 4000;

/** @type {Record<string, string>} */
const STATE_NAMES = {
    new: "new",
    uploading: "uploading",
    arrived: "arrived",
    handing_over: "handing over",
    waiting: "waiting for app",
    finished: "finished",
    cancelled: "cancelled",
    failed: "failed",
};

/** @typedef {{id: string, name: string | null, size: number | null, arrived: number, state: string,
 *     paused: boolean, age: number, idle: number, in_state: number, requested_by: string, clients: string[],
 *     transports: string[], connections: number, speed: number, attempts: number, next_attempt: number | null,
 *     problem: string, callback_url: string, may_cancel: boolean, may_retry: boolean}} Upload */

/** @typedef {{time: number, version: string, stopping: boolean, states: Record<string, number>, speed: number,
 *     sending: number, connections: Record<string, number>, workers: number, lag: number, memory: number,
 *     instances: Record<string, {workers: number, connections: number, lag: number, memory: number}>,
 *     free: number | null, low_space: number, traffic: {slot: number, speeds: number[]}, uploads: Upload[]}} Status */

/** @type {Map<string, Row>} */
const rows = new Map();
let lastAnswer = 0;

/** @param {string} id */
function element(id) {
    const found = document.getElementById(id);
    if (!found) throw new Error(`the page has no ${id}`);
    return found;
}

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {...(Node | string)} children
 */
function make(tag, className = "", ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
}

/** Sets text only where it differs, so that a selection survives. @param {Node} node @param {string} text */
function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

/** @param {number} count @param {string} one */
function counted(count, one) {
    return `${count} ${one}${count === 1 ? "" : "s"}`;
}

class Row {
    /** @param {Upload} upload */
    constructor(upload) {
        this.id = upload.id;
        this.name = make("span", "name");
        this.name.dir = "auto";
        this.below = make("small");
        this.bar = /** @type {HTMLProgressElement} */ (make("progress"));
        this.done = make("small");
        this.speed = make("td", "number speed");
        this.badge = make("span");
        this.detail = make("small");
        this.problem = make("small", "problem");
        this.client = make("span");
        this.how = make("small");
        this.age = make("td", "number age");
        this.cancel = this.button("Cancel", "cancel", true);
        this.retry = this.button("Retry now", "retry", false);
        this.outcome = make("small", "problem outcome");
        this.node = make(
            "tr",
            "",
            make("td", "file", this.name, this.below),
            make("td", "progress", this.bar, this.done),
            this.speed,
            make("td", "state", this.badge, this.detail, this.problem),
            make("td", "client", this.client, this.how),
            this.age,
            make("td", "", this.cancel, this.retry, this.outcome),
        );
    }

    /** @param {string} text @param {string} action @param {boolean} destroys */
    button(text, action, destroys) {
        const button = /** @type {HTMLButtonElement} */ (make("button", "", text));
        button.type = "button";
        button.addEventListener("click", () => {
            if (destroys && !button.classList.contains("sure")) {
                button.classList.add("sure");
                button.textContent = "Really cancel?";
                setTimeout(() => {
                    button.classList.remove("sure");
                    button.textContent = text;
                }, SURE_FOR);
                return;
            }
            this.act(button, action);
        });
        return button;
    }

    /** @param {HTMLButtonElement} button @param {string} action */
    async act(button, action) {
        button.disabled = true;
        say(this.outcome, "");
        try {
            const answer = await fetch(`status/uploads/${this.id}/${action}`, {
                method: "POST",
                headers: { "X-Incoming-Operator": "1" },
                signal: AbortSignal.timeout(PATIENCE),
            });
            if (!answer.ok) say(this.outcome, visible(await answer.text()));
        } catch {
            say(this.outcome, "The server did not answer.");
        }
        button.disabled = false;
        await refresh();
    }

    /** @param {Upload} upload */
    show(upload) {
        say(this.name, upload.name ? visible(upload.name) : "no name yet");
        this.name.classList.toggle("unnamed", !upload.name);
        this.name.title = this.name.textContent ?? "";
        const by = upload.requested_by ? ` · app ${visible(upload.requested_by)}` : "";
        say(this.below, `${upload.id.slice(0, 8)}…${by}`);
        const size = upload.size;
        this.bar.max = size || 1;
        this.bar.value = size === 0 ? 1 : size === null ? 0 : upload.arrived;
        this.bar.setAttribute("aria-label", `arrived of ${this.name.textContent}`);
        const part = size ? `${Math.floor((100 * upload.arrived) / size)} % of ` : "";
        say(this.done, size === null ? `${readableSize(upload.arrived)} so far` : part + readableSize(size));
        const moving = upload.state === "uploading" && upload.clients.length > 0;
        say(this.speed, moving || upload.speed ? `${readableSize(upload.speed)}/s` : "");
        this.showState(upload);
        say(this.client, upload.clients.map(visible).join(", "));
        const transports = upload.transports.map((name) => (name === "http" ? "HTTP" : "WebSocket")).join(", ");
        say(this.how, upload.connections ? `${transports}, ${counted(upload.connections, "connection")}` : transports);
        say(this.age, readableDuration(upload.age));
        this.cancel.hidden = !upload.may_cancel;
        this.retry.hidden = !upload.may_retry;
        this.node.classList.toggle("quiet", !upload.may_cancel && !upload.may_retry && !this.outcome.textContent);
    }

    /** @param {Upload} upload */
    showState(upload) {
        const paused = upload.paused && upload.state === "uploading";
        this.badge.className = `badge ${paused ? "paused" : upload.state}`;
        say(this.badge, paused ? "paused" : STATE_NAMES[upload.state] ?? upload.state);
        let detail = "";
        if (upload.next_attempt !== null) {
            const next = upload.attempts && upload.next_attempt > 0 ? `, next in ${readableDuration(upload.next_attempt)}` : "";
            detail = counted(upload.attempts, "attempt") + next;
        } else if (upload.state === "uploading" && !upload.clients.length) {
            detail = `idle for ${readableDuration(upload.idle)}`;
        } else if (upload.state !== "uploading" && upload.state !== "new") {
            detail = `for ${readableDuration(upload.in_state)}`;
        }
        say(this.detail, detail);
        const at = upload.problem && upload.callback_url ? ` · ${visible(upload.callback_url)}` : "";
        say(this.problem, visible(upload.problem) + at);
        this.badge.title = visible(upload.callback_url);
    }
}

/** @param {Upload[]} uploads */
function showUploads(uploads) {
    const body = element("uploads");
    const gone = new Set(rows.keys());
    uploads.forEach((upload, index) => {
        gone.delete(upload.id);
        let row = rows.get(upload.id);
        if (!row) rows.set(upload.id, (row = new Row(upload)));
        row.show(upload);
        if (body.children[index] !== row.node) body.insertBefore(row.node, body.children[index] ?? null);
    });
    for (const id of gone) {
        rows.get(id)?.node.remove();
        rows.delete(id);
    }
    element("empty").hidden = uploads.length > 0;
}

/** @param {Status} status @returns {Array<[string, string, string, string]>} label, value, remark, class */
function tiles(status) {
    const states = status.states;
    const owed = (states.arrived ?? 0) + (states.handing_over ?? 0);
    const failed = states.failed ?? 0;
    const free = status.free ?? Infinity;
    const low = free < status.low_space ? "bad" : free < 4 * status.low_space ? "warn" : "";
    const transports = `${status.connections.websocket ?? 0} WebSocket, ${status.connections.http ?? 0} HTTP`;
    const connections = Object.values(status.connections).reduce((sum, count) => sum + count, 0);
    return [
        ["Arriving", `${readableSize(status.speed)}/s`, counted(status.sending, "upload"), ""],
        ["Connections", String(connections), transports, ""],
        ["Unfinished", String(states.uploading ?? 0), counted(states.new ?? 0, "unused ticket"), ""],
        ["Being handed over", String(owed), `${states.waiting ?? 0} waiting for the app`, ""],
        ["Failed", String(failed), "handovers, kept for a while", failed ? "bad" : ""],
        ["Free space", free === Infinity ? "not limited" : readableSize(free), low === "bad" ? "no new uploads are taken" : "", low],
        ["Workers", String(status.workers), readableLoad(status), ""],
        ...instanceTiles(status.instances),
    ];
}

/** @param {{lag: number, memory: number}} load */
function readableLoad(load) {
    return `lag ${Math.round(load.lag * 1000)} ms, ${readableSize(load.memory)}`;
}

/**
 * A tile for each of several instances.
 * @param {Status["instances"]} instances
 * @returns {[string, string, string, string][]}
 */
function instanceTiles(instances) {
    const all = Object.entries(instances);
    if (all.length < 2) return [];
    return all.map(([name, one]) => [
        `Instance ${name}`,
        counted(one.workers, "worker"),
        `${counted(one.connections, "connection")}, ${readableLoad(one)}`,
        "",
    ]);
}

/** @param {Status} status */
function showTiles(status) {
    const list = element("tiles");
    const wanted = tiles(status);
    while (list.children.length > wanted.length) list.lastElementChild?.remove();
    wanted.forEach(([label, value, remark, className], index) => {
        let tile = list.children[index];
        if (!tile) {
            tile = make("div", "", make("dt"), make("dd", "", make("span"), make("small")));
            list.append(tile);
        }
        tile.className = className;
        const [term, meaning] = /** @type {[Element, Element]} */ ([...tile.children]);
        say(term, label);
        say(/** @type {Element} */ (meaning.children[0]), value);
        say(/** @type {Element} */ (meaning.children[1]), remark);
    });
}

/** @param {Status} status */
function show(status) {
    say(element("about"), `${location.host} · version ${status.version}`);
    showTiles(status);
    drawTraffic(element("traffic"), element("traffic-reading"), status.time, status.traffic);
    showUploads(status.uploads);
    const all = Object.entries(status.states).filter(([state]) => state !== "new" && state !== "finished" && state !== "cancelled");
    const more = all.reduce((sum, [, count]) => sum + count, 0);
    const rest = more > status.uploads.length ? ` of ${more}; all: incoming uploads list --limit ${more}` : "";
    say(element("shown"), `${status.uploads.length} shown${rest}`);
}

/** @param {boolean} good @param {string} text */
function tellHealth(good, text) {
    element("health").className = good ? "good" : "bad";
    say(element("health-text"), text);
}

/** What is on the page is as it was, not as it is. @param {string} text */
function tellStale(text) {
    document.body.classList.add("stale");
    const since = lastAnswer ? ` for ${readableDuration((Date.now() - lastAnswer) / 1000)}` : "";
    tellHealth(false, text + since);
}

async function refresh() {
    try {
        const answer = await fetch("status/now", { signal: AbortSignal.timeout(PATIENCE) });
        if (!answer.ok) {
            tellStale(`answers ${answer.status}: ${visible((await answer.text()).slice(0, 200))}`);
            return;
        }
        const status = /** @type {Status} */ (await answer.json());
        lastAnswer = Date.now();
        show(status);
        document.body.classList.remove("stale");
        tellHealth(!status.stopping, status.stopping ? "stopping" : "live");
    } catch {
        tellStale("no answer");
    }
}

async function go() {
    if (!document.hidden) await refresh();
    setTimeout(go, INTERVAL);
}

document.addEventListener("visibilitychange", () => void (document.hidden || refresh()));
void go();
