// The text of state_msg: one line for people. Its wording is kept for existing pages. Programs read the flags.

/** @typedef {import("./state_machine.js").Phase} Phase */

/**
 * @typedef {object} Circumstances
 * @property {boolean} connected
 * @property {import("../transport/messages.js").State} server_state
 * @property {string} reason of a cancellation, or what the server says of a handover that is tried again
 * @property {import("../transport/errors.js").Problem | null} problem
 */

/**
 * @param {Phase} phase
 * @param {Circumstances} circumstances
 * @returns {string}
 */
export function state_message(phase, { connected, server_state, reason, problem }) {
    switch (phase) {
        case "idle":
            return "not yet started";
        case "connecting":
            return "connecting to upload server";
        case "transferring":
            return "transfer file chunks to upload server";
        case "waiting":
            return problem ? `waiting: ${problem.message}` : "lost connection, trying to connect again";
        case "handing_over":
            if (!connected) return "file has arrived; lost connection, trying to connect again";
            if (reason) return reason;
            return server_state === "waiting" ? "processing file on server" : "handing file to app";
        case "paused":
            return "paused";
        case "cancelling":
            return reason ? `cancelling: ${reason}` : "cancelling";
        case "finished":
            return "all done";
        case "cancelled":
            return reason ? `cancelled: ${reason}` : "cancelled";
        case "failed":
            return `failed: ${problem?.message ?? ""}`;
    }
}
