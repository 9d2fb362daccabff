// All about one upload, in a dialog: facts, the app's answer, and what has happened.

import { PATIENCE, act, button } from "./actions.js";
import { show as showView, view } from "./address.js";
import { element, make, say } from "./dom.js";
import { STATE_NAMES, readableDuration, readableSize, readableTime, visible } from "./readable.js";
import { progressOf, stateDetail, stateOf } from "./rows.js";

/** @typedef {import("./rows.js").Upload & {created_at: number, file: string | null, losses: number,
 *     answer: string | null, remove_file_when_finished: boolean, max_size: number, max_rate: number,
 *     allowed_origins: string[], allowed_types: string[], signed: boolean, trace_id: string | null,
 *     media_type: string | null, metadata: Record<string, string>, digest: string | null,
 *     timeline: {at: number, event: string, detail: string}[]}} Details */

const dialog = /** @type {HTMLDialogElement} */ (element("detail"));
const outcome = element("detail-outcome");
const cancel = button("Cancel upload", "Really cancel?", () => actOnThis("cancel"));
const retry = button("Retry now", null, () => actOnThis("retry"));

/** @type {Record<string, string>} */
const EVENTS = {
    created: "ticket issued",
    session: "new session",
    answer: "callback",
    retried: "retried by an operator",
    omitted: "further entries",
};

/** @param {string} action */
async function actOnThis(action) {
    const done = await act(action, [dialog.dataset.id ?? ""]);
    say(outcome, typeof done === "string" ? done : visible(done[0]?.refused ?? ""));
    await refreshDetail();
}

/** @param {Details} upload @returns {Array<[string, string]>} */
function facts(upload) {
    const limits = [
        upload.max_size ? `at most ${readableSize(upload.max_size)}` : "",
        upload.max_rate ? `at most ${readableSize(upload.max_rate)}/s` : "",
        upload.allowed_types.length ? `types ${upload.allowed_types.join(", ")}` : "",
        upload.allowed_origins.length ? `from ${upload.allowed_origins.join(", ")}` : "",
    ];
    const metadata = Object.entries(upload.metadata).map(([name, value]) => `${name} = ${value}`);
    const removed = upload.remove_file_when_finished ? "" : " (kept when finished)";
    /** @type {Array<[string, string]>} */
    const all = [
        ["Id", upload.id],
        ["Progress", progressOf(upload).text + (upload.speed ? `, ${readableSize(upload.speed)}/s` : "")],
        ["Problem", upload.problem],
        ["Callback URL", upload.callback_url + (upload.signed ? "" : " (without a secret)")],
        ["Last callback", upload.answer ?? ""],
        ["Requested by", upload.requested_by],
        ["Clients", upload.clients.join(", ")],
        ["Media type", upload.media_type ?? ""],
        ["Metadata", metadata.join(", ")],
        ["Limits", limits.filter(Boolean).join(", ")],
        ["File", upload.file === null ? "" : upload.file + removed],
        ["Digest", upload.digest ?? ""],
        ["Bytes lost", upload.losses ? `${upload.losses} times, and asked for again` : ""],
        ["Trace", upload.trace_id ?? ""],
    ];
    return all.filter(([, value]) => value);
}

/** @param {Element} list @param {Array<[string, string]>} wanted */
function showFacts(list, wanted) {
    const shown = [...list.children].map((node) => node.textContent);
    if (shown.join("\n") === wanted.flat().map(visible).join("\n")) return;
    list.replaceChildren(
        ...wanted.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", visible(value))]),
    );
}

/** @param {Element} list @param {Details} upload */
function showTimeline(list, upload) {
    const last = upload.timeline.at(-1);
    const shown = `${upload.id} ${upload.timeline.length} ${last?.at} ${last?.event}`;
    if (shown === dialog.dataset.timeline) return;
    dialog.dataset.timeline = shown;
    list.replaceChildren(
        ...upload.timeline.map(({ at, event, detail }) => {
            const time = make("time", "", readableTime(at));
            time.setAttribute("datetime", new Date(at * 1000).toISOString());
            const word = make("span", `event ${event}`, EVENTS[event] ?? STATE_NAMES[event] ?? event);
            return make("li", "", time, word, make("small", "", visible(detail)));
        }),
    );
}

/** @param {Details} upload */
function showDetails(upload) {
    dialog.dataset.id = upload.id;
    const name = element("detail-name");
    say(name, upload.name ? visible(upload.name) : "no name yet");
    const state = stateOf(upload);
    const badge = element("detail-state");
    badge.className = state.className;
    say(badge, state.text);
    const age = `${readableDuration(upload.age)} old`;
    say(element("detail-since"), [stateDetail(upload), age].filter(Boolean).join(" · "));
    showFacts(element("detail-facts"), facts(upload));
    showTimeline(element("detail-timeline"), upload);
    cancel.hidden = !upload.may_cancel;
    retry.hidden = !upload.may_retry;
}

/** Shows the upload that the address names, as it is now. */
export async function refreshDetail() {
    const { id } = view();
    if (!id) {
        if (dialog.open) dialog.close();
        return;
    }
    let problem = "";
    try {
        const answer = await fetch(`status/uploads/${encodeURIComponent(id)}`, { signal: AbortSignal.timeout(PATIENCE) });
        if (answer.ok) showDetails(/** @type {Details} */ (await answer.json()));
        else problem = visible((await answer.text()).slice(0, 300));
    } catch {
        problem = "The server did not answer.";
    }
    if (view().id !== id) return;
    element("detail-content").hidden = Boolean(problem) && !dialog.dataset.id?.startsWith(id.slice(0, 8));
    say(element("detail-problem"), problem);
    if (!dialog.open) {
        say(outcome, "");
        dialog.showModal();
    }
}

export function watchDetail() {
    element("detail-buttons").append(cancel, retry);
    element("detail-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
        delete dialog.dataset.id;
        showView({ id: "" });
    });
    dialog.addEventListener("click", (event) => {
        if (event.target === dialog) dialog.close();
    });
    addEventListener("hashchange", () => void refreshDetail());
}
