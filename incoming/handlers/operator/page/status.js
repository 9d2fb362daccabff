// The operators' status page: asks every second how things are and shows it. Whatever comes from clients, file names
// above all, is only ever set as text. Decides nothing about uploads.

import { PATIENCE } from "./actions.js";
import { query, view } from "./address.js";
import { refreshDetail, watchDetail } from "./detail.js";
import { counted, element, make, say } from "./dom.js";
import { watchFilters } from "./filters.js";
import { readableDuration, readableSize, visible } from "./readable.js";
import { showUploads, watchRows } from "./rows.js";
import { drawTraffic } from "./traffic.js";

const INTERVAL = 1000;
/** A selection costs the server more than the list that it chooses itself. */
const SELECTED_INTERVAL = 3000;

/** @typedef {import("./rows.js").Upload} Upload */

/** @typedef {{time: number, version: string, stopping: boolean, states: Record<string, number>, speed: number,
 *     sending: number, connections: Record<string, number>, workers: number, lag: number, memory: number,
 *     instances: Record<string, {workers: number, connections: number, lag: number, memory: number}>,
 *     free: number | null, low_space: number, traffic: {slot: number, speeds: number[]}, found: number,
 *     uploads: Upload[]}} Status */

let lastAnswer = 0;

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

/** How many uploads are shown, of how many. @param {Status} status */
function shownOf(status) {
    const shown = `${status.uploads.length} shown`;
    if (query()) return status.found > status.uploads.length ? `${shown} of ${status.found}: narrow the search` : shown;
    const all = Object.entries(status.states).filter(([state]) => state !== "new" && state !== "finished" && state !== "cancelled");
    const more = all.reduce((sum, [, count]) => sum + count, 0);
    return shown + (more > status.uploads.length ? ` of ${more}; all: incoming uploads list --limit ${more}` : "");
}

/** @param {Status} status */
function show(status) {
    say(element("about"), `${location.host} · version ${status.version}`);
    showTiles(status);
    drawTraffic(element("traffic"), element("traffic-reading"), status.time, status.traffic);
    showUploads(status.uploads);
    say(element("shown"), shownOf(status));
    say(element("empty"), query() ? "No upload is like that." : "Nobody is uploading.");
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
    const asked = query();
    try {
        const answer = await fetch(`status/now${asked}`, { signal: AbortSignal.timeout(PATIENCE) });
        if (!answer.ok) {
            tellStale(`answers ${answer.status}: ${visible((await answer.text()).slice(0, 200))}`);
            return;
        }
        const status = /** @type {Status} */ (await answer.json());
        if (asked !== query()) return;
        lastAnswer = Date.now();
        show(status);
        document.body.classList.remove("stale");
        tellHealth(!status.stopping, status.stopping ? "stopping" : "live");
    } catch {
        tellStale("no answer");
    }
}

async function go() {
    if (!document.hidden) await Promise.all([refresh(), view().id ? refreshDetail() : undefined]);
    setTimeout(go, query() ? SELECTED_INTERVAL : INTERVAL);
}

/** What the list shows. */
let shown = query();

function onView() {
    if (shown === query()) return;
    shown = query();
    void refresh();
}

watchFilters();
watchRows(refresh);
watchDetail();
addEventListener("hashchange", onView);
document.addEventListener("visibilitychange", () => void (document.hidden || refresh()));
void go();
