// The observable state of an upload: every property and flag, except the constant ones, computed from the present
// facts. Pure.

import { TICKET_IS_OVER, error_name } from "../transport/errors.js";
import { state_message } from "./state_message.js";
import { state_name } from "./state_name.js";

/** @typedef {import("./state_machine.js").Phase} Phase */

/**
 * @typedef {object} Facts
 * @property {Phase} phase
 * @property {number} bytes_total
 * @property {Pick<import("../pool/chunk_scheduler.js").ChunkScheduler, "bytes_acked" | "bytes_ahead" | "chunks_acked" | "chunks_ahead">} scheduler
 * @property {boolean} connected
 * @property {number} bytes_received
 * @property {"websocket" | "http" | "direct" | ""} transport
 * @property {import("../transport/messages.js").State} server_state
 * @property {string} reason of a cancellation, or the server's reason while a handover is retried
 * @property {import("../transport/errors.js").Problem | null} problem that ended the upload or that it waits to pass
 * @property {import("../incoming.js").LanguagePack | null} pack of the texts; null for English
 */

/** @type {Set<Phase>} */
const CANCELLABLE = new Set(["idle", "requesting", "connecting", "transferring", "waiting"]);
/** @type {Set<Phase>} */
const PAUSABLE = new Set(["requesting", "connecting", "transferring", "waiting"]);
/** @type {Set<Phase>} */
const SHOWS_PROBLEM = new Set(["failed", "requesting", "waiting", "handing_over"]);

/** @param {Facts} facts */
export function observe({ phase, bytes_total, scheduler, connected, transport, bytes_received, server_state, reason, problem, pack }) {
    const { bytes_acked, bytes_ahead, chunks_acked, chunks_ahead } = scheduler;
    const shown = SHOWS_PROBLEM.has(phase) ? problem : null;
    const state = state_name(phase, { connected, server_state, reason, problem: shown });
    const name = shown && error_name(shown.code);
    return {
        state,
        bytes_acked,
        bytes_received,
        bytes_ahead,
        bytes_tx: bytes_acked + bytes_ahead,
        frac_complete: fraction(phase, bytes_acked, bytes_total),
        chunks_acked_now: chunks_acked,
        chunks_ahead,
        chunks_tx_now: chunks_acked + chunks_ahead,
        connected,
        transport,
        finished: phase === "finished",
        failed: phase === "failed",
        paused: phase === "paused",
        can_pause: PAUSABLE.has(phase),
        cancelling: phase === "cancelling",
        cancelled: phase === "cancelled",
        can_cancel: CANCELLABLE.has(phase) || (phase === "failed" && !TICKET_IS_OVER.has(problem?.code ?? 0)),
        cancel_msg: phase === "cancelled" ? reason : "",
        error_code: shown ? shown.code : null,
        error_name: name,
        error_msg: shown ? shown.message : "",
        state_msg: state_message(state, reason, shown, name, pack),
    };
}

/**
 * An empty file has arrived when the server reports it.
 * @param {Phase} phase
 * @param {number} acked
 * @param {number} total
 */
function fraction(phase, acked, total) {
    if (total > 0) return acked / total;
    return phase === "handing_over" || phase === "finished" ? 1 : 0;
}
