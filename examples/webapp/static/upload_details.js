/** Example 2's panel: all properties of one upload, as they change. Texts go in as textContent, never as innerHTML: others
 * have written some of them.
 */

import { set_enabled } from "./controls.js";
import { name_node } from "./file_names.js";

const element = (id) => document.getElementById(id);

export function show_details(uploader) {
    element("stats_heading").replaceChildren(name_node(uploader.filename));
    for (const [name, value] of Object.entries(values_of(uploader))) element("stats_" + name).textContent = String(value);
    element("stats_progress_bar").value = uploader.frac_complete;
    element("input_pause").checked = uploader.paused;
    // While it is paused, the user may always resume it, or discard it.
    set_enabled(element("input_pause"), uploader.can_pause || uploader.paused);
    set_enabled(element("input_btn_cancel"), uploader.can_cancel || uploader.paused);
}

function values_of(uploader) {
    const kilobytes = (bytes) => Math.round(bytes / 1024);
    return {
        state_msg: uploader.state_msg,
        error_msg: uploader.error_msg,
        cancel_msg: uploader.cancel_msg,
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
