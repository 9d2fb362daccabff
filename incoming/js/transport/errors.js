// Errors as values: the codes that this library switches on, and those that only a browser can detect. Does not know
// how an error is transmitted. The server's codes (incoming/core/errors.py) are passed on.

/**
 * @typedef {object} Problem
 * @property {number} code stable and numeric; documented in doc/api.md
 * @property {string} message
 * @property {boolean} retry whether a later attempt can succeed without any change
 * @property {number | null} retry_after seconds to wait before that, if the server sent them
 */

export const MESSAGE_TOO_LARGE = 103;
export const NOT_FOUND = 106;
export const UNKNOWN_TICKET = 200;
export const TAKEN_OVER = 204;
export const WRONG_STATE = 300;
export const ALREADY_COMPLETE = 301;
export const UPLOAD_CANCELLED = 302;
export const HANDOVER_FAILED = 303;
export const FILE_CHANGED = 400;
export const STORAGE_FULL = 501;
export const INTERNAL_ERROR = 599;

export const FILE_UNREADABLE = 1001;
export const FILE_CHANGED_WHILE_READING = 1002;
export const BAD_ARGUMENT = 1003;
/** An intermediary answers instead of the server; temporary. */
export const SERVER_UNAVAILABLE = 1004;
/** No attempt of this page has reached the server; temporary, or the address is wrong. */
export const NEVER_REACHED = 1005;
/** The app issues no ticket at present; temporary. */
export const TICKET_UNAVAILABLE = 1006;
/** The app refuses a ticket for this file. */
export const TICKET_REFUSED = 1007;

/** The names of the codes that uploads in a browser can meet, as doc/api.md has them: runs of codes, each by its first one. */
const NAMES = {
    100: "bad_request bad_parameter bad_range message_too_large",
    105: "method_not_allowed not_found",
    200: "unknown_ticket",
    203: "forbidden taken_over",
    300: "wrong_state already_complete upload_cancelled handover_failed",
    400: "file_changed file_too_large file_type_refused digest_mismatch",
    500: "server_shutdown storage_full storage_failed too_busy too_slow",
    599: "internal_error",
    1001: "file_unreadable file_changed_while_reading bad_argument server_unavailable never_reached ticket_unavailable ticket_refused",
};
const NAME_OF = new Map(
    Object.entries(NAMES).flatMap(([first, names]) => names.split(" ").map((name, i) => [Number(first) + i, name])),
);

/**
 * @param {number} code
 * @returns {string} "unknown_error" for the code of a newer server
 */
export function error_name(code) {
    return NAME_OF.get(code) ?? "unknown_error";
}

/** The upload has ended, or has another state than expected: a new hello returns it. */
export const ASK_AGAIN = new Set([WRONG_STATE, ALREADY_COMPLETE, UPLOAD_CANCELLED, HANDOVER_FAILED]);

/** After these the ticket is useless to this browser. */
export const TICKET_IS_OVER = new Set([UNKNOWN_TICKET, TAKEN_OVER, UPLOAD_CANCELLED, HANDOVER_FAILED]);

/**
 * An error that ends the upload, or this attempt.
 * @param {number} code
 * @param {string} message
 * @returns {Problem}
 */
export function fatal(code, message) {
    return { code, message, retry: false, retry_after: null };
}

/**
 * @param {Problem} problem
 * @returns {boolean} whether the server did not understand what it received, because an intermediary has changed it
 */
export function is_garbled({ code }) {
    return code >= 100 && code < 200;
}

/**
 * The meaning of a WebSocket's close code (4000 + the server's code) when the error message was lost.
 * @param {number} close_code
 * @returns {Problem | null}
 */
export function from_close_code(close_code) {
    if (close_code <= 4000 || close_code > 4999) return null;
    const code = close_code - 4000;
    return { code, message: `the upload server closed the connection with error ${code}`, retry: code >= 500, retry_after: null };
}

/**
 * @param {string} message
 * @returns {TypeError} to be thrown at a page that calls a function wrongly
 */
export function bad_argument(message) {
    return Object.assign(new TypeError(`incoming: ${message}`), { code: BAD_ARGUMENT });
}
