/** How example 2 shows its uploads: a row for each, and the details of the one that is selected. Decides nothing about
 * uploads. Texts go in as textContent, never as innerHTML: others have written some of them.
 *
 * A row is what the page knows about one file: {file, state: "queued" | "started" | "ended", uploader, message, failed,
 * waiting, view}. There is no uploader before there is a ticket; until then there is a message.
 */

import { set_enabled } from "./controls.js";
import { name_node, visible_name } from "./file_names.js";
import { Speedometer, human_size, progress_text } from "./progress.js";

const element = (id) => document.getElementById(id);

/** While it is paused, the user may always resume it. */
export function may_toggle_pause({ state, uploader }) {
    return state === "started" && uploader !== null && (uploader.can_pause || uploader.paused);
}

/** A paused upload has to be resumed first. The page does that. */
export function may_cancel({ state, uploader }) {
    return state !== "ended" && (uploader === null || uploader.can_cancel || uploader.paused);
}

/** The list item of one upload. `actions` are {select, toggle_pause, cancel, retry}, functions without parameters. */
export class RowView {
    #speedometer = new Speedometer();
    #name;
    #buttons;

    constructor(template, file, actions) {
        this.node = template.content.cloneNode(true).firstElementChild;
        const part = (css_class) => this.node.querySelector("." + css_class);
        this.#name = part("file_name");
        this.#name.append(name_node(file.name));
        this.#buttons = { retry: part("retry"), pause: part("pause"), cancel: part("cancel") };
        this.node.querySelector("progress").ariaLabel = `Progress of ${visible_name(file.name)}`;
        this.node.addEventListener("click", actions.select);
        this.#buttons.retry.addEventListener("click", actions.retry);
        this.#buttons.pause.addEventListener("click", actions.toggle_pause);
        this.#buttons.cancel.addEventListener("click", actions.cancel);
    }

    select(selected) {
        this.node.classList.toggle("selected", selected);
        this.#name.ariaCurrent = selected ? "true" : null;
    }

    show(row) {
        const { state, uploader, failed, waiting } = row;
        const { retry, pause, cancel } = this.#buttons;
        const had_focus = this.node.contains(document.activeElement);
        this.node.querySelector("progress").value = uploader?.frac_complete ?? 0;
        this.node.querySelector(".numbers").textContent = this.#numbers(row);
        this.node.classList.toggle("finished", uploader?.finished === true);
        this.node.classList.toggle("failed", failed || uploader?.cancelled === true);
        this.node.classList.toggle("waiting", waiting);
        this.node.querySelector(".buttons").hidden = state === "ended" && !failed;
        retry.hidden = !failed && !waiting;
        pause.hidden = state === "ended" || waiting;
        pause.textContent = uploader?.paused ? "Resume" : "Pause";
        set_enabled(pause, may_toggle_pause(row));
        cancel.hidden = state === "ended";
        set_enabled(cancel, may_cancel(row));
        // There are many buttons on the page. To hear which one it is, one has to hear its file.
        for (const button of [retry, pause, cancel]) button.ariaLabel = `${button.textContent} ${this.#name.textContent}`;
        // The button that was pressed may be gone now.
        if (had_focus && document.activeElement.offsetParent === null) this.#name.focus();
    }

    #numbers({ file, uploader, message, failed }) {
        if (uploader === null) return `${human_size(file.size)} · ${message}`;
        if (uploader.finished) return `${human_size(uploader.bytes_total)} · finished, the app has it`;
        if (uploader.cancelled) return "cancelled";
        if (failed) return uploader.error_msg;
        const text = progress_text(uploader, this.#speedometer.measure(uploader));
        const in_transfer = uploader.connected && uploader.frac_complete < 1;
        return in_transfer ? text : `${text} · ${uploader.state_msg}`;
    }
}

/** All there is to know about one upload. */
export function show_details(row) {
    element("stats_heading").replaceChildren(name_node(row.file.name));
    const values = row.uploader === null ? values_without_uploader(row) : values_of(row.uploader);
    for (const node of document.querySelectorAll("dl.stats dd")) node.textContent = "–";
    for (const [name, value] of Object.entries(values)) element("stats_" + name).textContent = String(value);
    element("stats_progress_bar").value = row.uploader?.frac_complete ?? 0;
    element("input_pause").checked = row.uploader?.paused ?? false;
    set_enabled(element("input_pause"), may_toggle_pause(row));
    set_enabled(element("input_btn_cancel"), may_cancel(row));
}

function values_without_uploader({ message, failed }) {
    return { state_msg: failed ? "" : message, error_msg: failed ? message : "", cancel_msg: "" };
}

function values_of(uploader) {
    const kilobytes = (bytes) => Math.round(bytes / 1024);
    return {
        state_msg: uploader.state_msg,
        error_msg: uploader.error_msg ?? "",
        cancel_msg: uploader.cancel_msg ?? "",
        connected: uploader.connected,
        cancelling: uploader.cancelling,
        cancelled: uploader.cancelled,
        finished: uploader.finished,
        chunks_tx: uploader.chunks_tx_now,
        chunks_acked: uploader.chunks_acked_now,
        chunks_ahead: uploader.chunks_ahead,
        kb_tx: kilobytes(uploader.bytes_tx),
        kb_acked: kilobytes(uploader.bytes_acked),
        kb_ahead: kilobytes(uploader.bytes_tx - uploader.bytes_acked),
        transport: uploader.transport || "–",
    };
}
