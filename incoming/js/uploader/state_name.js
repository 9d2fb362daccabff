// The public state of an upload: the phase of the state machine, subdivided where users see a difference. Pure.

import { TICKET_UNAVAILABLE } from "../transport/errors.js";

/** @typedef {import("../incoming.js").UploadState} UploadState */

/**
 * @typedef {object} Circumstances
 * @property {boolean} connected
 * @property {import("../transport/messages.js").State} server_state
 * @property {string} reason of a cancellation, or the server's reason while a handover is retried
 * @property {import("../transport/errors.js").Problem | null} problem
 */

/**
 * @param {import("./state_machine.js").Phase} phase
 * @param {Circumstances} circumstances
 * @returns {UploadState}
 */
export function state_name(phase, { connected, server_state, reason, problem }) {
    switch (phase) {
        case "requesting":
            return problem?.code === TICKET_UNAVAILABLE ? "waiting" : "requesting_ticket";
        case "waiting":
            return problem ? "waiting" : "reconnecting";
        case "handing_over":
            if (!connected) return "arrived";
            if (reason) return "delayed";
            return server_state === "waiting" ? "processing" : "handing_over";
        default:
            return phase;
    }
}
