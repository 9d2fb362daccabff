// Why an upload is not faster, or does not move: which of line, browser, server, disk and app it waits for. Pure;
// path_meter.js measures the bytes in flight.

/** @typedef {import("../incoming.js").UploadLimit} UploadLimit */
/** @typedef {import("../incoming.js").UploadState} UploadState */

/** @type {Partial<Record<UploadState, UploadLimit>>} the states in which nothing is on its way */
const BY_STATE = {
    requesting_ticket: "app",
    reconnecting: "line",
    handing_over: "app",
    arrived: "line",
    delayed: "app",
    processing: "app",
};

/** @type {Record<string, UploadLimit>} for errors that an upload waits to pass; the line for others */
const BY_ERROR = {
    server_shutdown: "server",
    storage_full: "disk",
    storage_failed: "disk",
    too_busy: "server",
    server_unavailable: "server",
    ticket_unavailable: "app",
};

/** Protocols over which a browser puts all requests to a host into one connection. */
const MULTIPLEXING = ["h2", "h3"];

/**
 * @param {UploadState} state
 * @param {string | null} error_name
 * @param {UploadLimit | null} moving what limits the bytes on their way
 * @returns {UploadLimit | null}
 */
export function limit_of(state, error_name, moving) {
    if (state === "transferring") return moving;
    if (state === "waiting") return BY_ERROR[error_name ?? ""] ?? "line";
    return BY_STATE[state] ?? null;
}

/**
 * @param {Pick<import("../incoming.js").Uploader, "state" | "error_name" | "transport" | "rate" | "max_rate" | "bytes_ahead">} upload
 * @param {Pick<import("../session/session.js").Session, "limit" | "path">} session
 * @returns {import("../incoming.js").Diagnosis}
 */
export function diagnosis_of({ state, error_name, transport, rate, max_rate, bytes_ahead }, session) {
    const limit = limit_of(state, error_name, session.limit);
    const { path } = session;
    const multiplexed = transport === "http" && MULTIPLEXING.includes(path.protocol);
    return Object.freeze({ limit, state, transport, rate, max_rate, bytes_ahead, multiplexed, ...path });
}
