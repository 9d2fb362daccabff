// The text of state_msg: one line for people, in English or in the language that the page has chosen. The English wording
// is kept for existing pages. Programs read the flags.

/** @typedef {import("../incoming.js").UploadState} UploadState */
/** @typedef {import("../incoming.js").LanguagePack} LanguagePack */

/** @type {Readonly<Record<string, string>>} by state; with "_because" where there is a reason */
const ENGLISH = {
    idle: "not yet started",
    requesting_ticket: "asking the application for a ticket",
    connecting: "connecting to upload server",
    transferring: "transfer file chunks to upload server",
    reconnecting: "lost connection, trying to connect again",
    waiting: "waiting: {error}",
    handing_over: "handing file to app",
    arrived: "file has arrived; lost connection, trying to connect again",
    delayed: "{reason}",
    processing: "processing file on server",
    paused: "paused",
    cancelling: "cancelling",
    cancelling_because: "cancelling: {reason}",
    finished: "all done",
    cancelled: "cancelled",
    cancelled_because: "cancelled: {reason}",
    failed: "failed: {error}",
};

/**
 * @param {UploadState} state
 * @param {string} reason of a cancellation, or the server's reason while a handover is retried
 * @param {import("../transport/errors.js").Problem | null} problem
 * @param {string | null} name of the problem
 * @param {LanguagePack | null} pack null for English
 * @returns {string}
 */
export function state_message(state, reason, problem, name, pack) {
    const text = (/** @type {string} */ key) => (pack ? pack[`state.${key}`] : ENGLISH[key]);
    const template = (reason && text(`${state}_because`)) || text(state) || state;
    const values = { reason, error: String(pack?.[`error.${name}`] ?? problem?.message ?? "") };
    return String(template).replace(/\{(reason|error)\}/g, (_, key) => values[/** @type {"reason" | "error"} */ (key)]);
}
