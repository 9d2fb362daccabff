// The list of uploads: a row for each, which ones are chosen, and what is done with those.

import { act, button } from "./actions.js";
import { address, show as showView } from "./address.js";
import { counted, element, make, say } from "./dom.js";
import { STATE_NAMES, readableDuration, readableSize, visible } from "./readable.js";

/** @typedef {{id: string, name: string | null, size: number | null, arrived: number, state: string,
 *     paused: boolean, age: number, idle: number, in_state: number, requested_by: string, clients: string[],
 *     transports: string[], libraries: string[], connections: number, speed: number, limit: string, delay: number, pending: number,
 *     rtt: number, retransmits: number, out_of_order: number, attempts: number, next_attempt: number | null,
 *     problem: string, callback_url: string, may_cancel: boolean, may_retry: boolean}} Upload */

/** @type {Map<string, Row>} */
const rows = new Map();
/** Ids of the rows whose box is ticked. @type {Set<string>} */
const chosen = new Set();
let refresh = async () => {};

/** The text and class of an upload's state. @param {Upload} upload */
export function stateOf(upload) {
    const paused = upload.paused && upload.state === "uploading";
    const text = paused ? "paused" : (STATE_NAMES[upload.state] ?? upload.state);
    return { text, className: `badge ${paused ? "paused" : upload.state}` };
}

/** What is known of the state besides its name. @param {Upload} upload */
export function stateDetail(upload) {
    if (upload.next_attempt !== null) {
        const next = upload.attempts && upload.next_attempt > 0 ? `, next in ${readableDuration(upload.next_attempt)}` : "";
        return counted(upload.attempts, "attempt") + next;
    }
    if (upload.state === "uploading" && !upload.clients.length) return `idle for ${readableDuration(upload.idle)}`;
    if (upload.state !== "uploading" && upload.state !== "new") return `for ${readableDuration(upload.in_state)}`;
    return "";
}

/** How much has arrived. @param {Upload} upload */
export function progressOf(upload) {
    const size = upload.size;
    const part = size ? `${Math.floor((100 * upload.arrived) / size)} % of ` : "";
    return {
        max: size || 1,
        value: size === 0 ? 1 : size === null ? 0 : Math.min(upload.arrived, size),
        text: size === null ? `${readableSize(upload.arrived)} so far` : part + readableSize(size),
    };
}

/** How the bytes fare: until they are stored, and as the kernel sees it. @param {Upload} upload */
export function pathOf(upload) {
    const parts = [`stored in ${Math.round(upload.delay * 1000)} ms`];
    if (upload.rtt) parts.push(`round trip ${Math.round(upload.rtt * 1000)} ms`);
    if (upload.retransmits) parts.push(`${upload.retransmits} sent again`);
    if (upload.out_of_order) parts.push(`${upload.out_of_order} out of order`);
    return parts.join(", ");
}

class Row {
    /** @param {Upload} upload */
    constructor(upload) {
        this.id = upload.id;
        this.box = /** @type {HTMLInputElement} */ (make("input"));
        this.box.type = "checkbox";
        this.box.checked = chosen.has(this.id);
        this.box.addEventListener("change", () => choose([this.id], this.box.checked));
        this.name = /** @type {HTMLAnchorElement} */ (make("a", "name"));
        this.name.dir = "auto";
        this.name.addEventListener("click", (event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            showView({ id: this.id });
        });
        this.below = make("small");
        this.bar = /** @type {HTMLProgressElement} */ (make("progress"));
        this.done = make("small");
        this.speed = make("span");
        this.limit = make("small");
        this.path = make("small");
        this.badge = make("span");
        this.detail = make("small");
        this.problem = make("small", "problem");
        this.client = make("span");
        this.how = make("small");
        this.library = make("small");
        this.age = make("td", "number age");
        this.cancel = button("Cancel", "Really cancel?", () => this.act("cancel"));
        this.retry = button("Retry now", null, () => this.act("retry"));
        this.outcome = make("small", "problem outcome");
        this.node = make(
            "tr",
            "",
            make("td", "box", this.box),
            make("td", "file", this.name, this.below),
            make("td", "progress", this.bar, this.done),
            make("td", "number speed", this.speed, this.limit, this.path),
            make("td", "state", this.badge, this.detail, this.problem),
            make("td", "client", this.client, this.how, this.library),
            this.age,
            make("td", "", this.cancel, this.retry, this.outcome),
        );
    }

    /** @param {string} action */
    async act(action) {
        const outcome = await act(action, [this.id]);
        say(this.outcome, typeof outcome === "string" ? outcome : visible(outcome[0]?.refused ?? ""));
        await refresh();
    }

    /** @param {Upload} upload */
    show(upload) {
        say(this.name, upload.name ? visible(upload.name) : "no name yet");
        this.name.classList.toggle("unnamed", !upload.name);
        this.name.title = this.name.textContent ?? "";
        this.name.href = address({ id: upload.id });
        this.box.setAttribute("aria-label", `choose ${this.name.textContent}`);
        const by = upload.requested_by ? ` · app ${visible(upload.requested_by)}` : "";
        say(this.below, `${upload.id.slice(0, 8)}…${by}`);
        const progress = progressOf(upload);
        this.bar.max = progress.max;
        this.bar.value = progress.value;
        this.bar.setAttribute("aria-label", `arrived of ${this.name.textContent}`);
        say(this.done, progress.text);
        const moving = upload.state === "uploading" && upload.clients.length > 0;
        say(this.speed, moving || upload.speed ? `${readableSize(upload.speed)}/s` : "");
        say(this.limit, upload.limit ? `limit: ${upload.limit}` : "");
        say(this.path, moving ? pathOf(upload) : "");
        const state = stateOf(upload);
        this.badge.className = state.className;
        this.badge.title = visible(upload.callback_url);
        say(this.badge, state.text);
        say(this.detail, stateDetail(upload));
        const at = upload.problem && upload.callback_url ? ` · ${visible(upload.callback_url)}` : "";
        say(this.problem, visible(upload.problem) + at);
        say(this.client, upload.clients.map(visible).join(", "));
        const transports = upload.transports.map((name) => (name === "http" ? "HTTP" : "WebSocket")).join(", ");
        say(this.how, upload.connections ? `${transports}, ${counted(upload.connections, "connection")}` : transports);
        say(this.library, upload.libraries.map(visible).join(", "));
        say(this.age, readableDuration(upload.age));
        this.cancel.hidden = !upload.may_cancel;
        this.retry.hidden = !upload.may_retry;
        this.node.classList.toggle("quiet", !upload.may_cancel && !upload.may_retry && !this.outcome.textContent);
    }
}

/** @param {Iterable<string>} ids @param {boolean} isChosen */
function choose(ids, isChosen) {
    for (const id of ids) {
        if (isChosen) chosen.add(id);
        else chosen.delete(id);
        const row = rows.get(id);
        if (row) row.box.checked = isChosen;
    }
    showChosen();
}

function showChosen() {
    element("chosen").hidden = !chosen.size;
    say(element("chosen-count"), `${counted(chosen.size, "upload")} chosen`);
    const all = /** @type {HTMLInputElement} */ (element("choose-all"));
    all.checked = rows.size > 0 && chosen.size === rows.size;
    all.indeterminate = chosen.size > 0 && chosen.size < rows.size;
}

/** Acts on all that are chosen; those that were refused stay so. @param {string} action @param {string} done */
async function actOnChosen(action, done) {
    const outcomes = await act(action, [...chosen]);
    const remark = element("chosen-outcome");
    if (typeof outcomes === "string") {
        say(remark, outcomes);
    } else {
        const refused = outcomes.filter((outcome) => outcome.refused !== undefined);
        choose(outcomes.filter((outcome) => outcome.refused === undefined).map((outcome) => outcome.id), false);
        const why = refused[0] ? `; ${refused.length} not: ${visible(refused[0].refused ?? "")}` : "";
        say(remark, `${outcomes.length - refused.length} ${done}${why}`);
    }
    await refresh();
}

/** @param {Upload[]} uploads */
export function showUploads(uploads) {
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
        chosen.delete(id);
    }
    showChosen();
    element("empty").hidden = uploads.length > 0;
}

/** @param {() => Promise<void>} refreshPage shows what has changed */
export function watchRows(refreshPage) {
    refresh = refreshPage;
    const all = /** @type {HTMLInputElement} */ (element("choose-all"));
    all.addEventListener("change", () => choose([...rows.keys()], all.checked));
    element("chosen-buttons").append(
        button("Retry now", null, () => actOnChosen("retry", "retried")),
        button("Cancel", "Really cancel all?", () => actOnChosen("cancel", "cancelled")),
        button("None", null, async () => choose([...chosen], false)),
    );
}
