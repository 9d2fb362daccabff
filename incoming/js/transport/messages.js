// Messages of the sub-protocol incoming.1, the mirror of incoming/wire/messages.py; tests/vectors/messages.json holds
// both to the same bytes. Decides what a message looks like; does not know when one is sent or what it causes.

/** @typedef {import("./errors.js").Problem} Problem */
/** @typedef {[number, number]} Range the bytes [start, end) of the file */
/** @typedef {"new"|"uploading"|"arrived"|"handing_over"|"waiting"|"finished"|"cancelled"|"failed"} State */

/**
 * @typedef {object} Hello
 * @property {string} session identifies this uploader object; all its connections share it
 * @property {number} [epoch] the session's epoch by the last welcome; without it this uploader takes over
 * @property {boolean} [ahead] whether a chunk follows before the welcome is known
 * @property {boolean} [path] whether the server reports how the bytes fare
 * @property {string} name
 * @property {number} size in bytes
 * @property {number} [last_modified] milliseconds since the epoch
 * @property {string} [fingerprint] digest of samples of the content
 * @property {string} [media_type] the file's type by the browser
 * @property {string} [library] with its version
 */

/**
 * @typedef {object} Welcome
 * @property {"welcome"} type
 * @property {number} epoch
 * @property {State} state
 * @property {number | null} size
 * @property {Range[]} extents what has arrived
 * @property {number} chunk_min bytes
 * @property {number} chunk_max bytes
 * @property {number} window bytes that may be unacknowledged over all connections
 * @property {number} connections that one upload may hold
 * @property {number} ping_interval seconds
 * @property {number} max_rate bytes a second, 0 for no limit
 * @property {boolean} [direct] whether parts may be sent straight to the object store
 * @property {Range[]} [received] what is received besides and not safe yet
 * @property {number} [alignment] bytes that the server stores at a time: no chunk crosses a multiple of it; 1 for any
 * @property {string} [version] of the server
 * @property {string[]} [hosts] further names of it, for connections over HTTP
 */

/** @typedef {import("../incoming.js").ServerFigures} Path how the bytes fare, as the server sees it */
/** @typedef {{state: State, reason: string, code: number | null}} Outcome state of the upload, and why */
/** @typedef {{type: "ack", chunks: Range[]}} Ack */
/** @typedef {{type: "received", extents: Range[], ranges: Range[]}} Received what has arrived, and what is received and not safe yet */
/** @typedef {{type: "signed", urls: [number, string][], expires_in: number}} Signed URLs of parts, and the seconds in which to begin */
/** @typedef {{type: "unseen", parts: number[]}} Unseen parts that the object store does not have */
/** @typedef {{type: "state"} & Outcome} StateMessage */
/** @typedef {{type: "error", name: string} & Problem} ErrorMessage */
/** @typedef {{type: "paused" | "ping" | "pong"}} BareMessage */
/** @typedef {{type: "path"} & Path} PathMessage */
/** @typedef {Welcome | Ack | Received | Signed | Unseen | StateMessage | PathMessage | ErrorMessage | BareMessage} ServerMessage */

export const SUBPROTOCOL = "incoming.1";
export const CHUNK_HEADER_SIZE = 16;
const CHUNK_VERSION = 1;
const MAX_TEXT = 1024;
const MAX_MEDIA_TYPE = 255;

/** Truncated to the server's limit: a name or reason has at most 1,024 characters. */
const shortened = (/** @type {string} */ text) => text.slice(0, MAX_TEXT);

/**
 * @param {Hello} greeting
 * @returns {string}
 */
export function hello(greeting) {
    const media_type = greeting.media_type?.slice(0, MAX_MEDIA_TYPE);
    return JSON.stringify({ type: "hello", ...greeting, name: shortened(greeting.name), media_type });
}

/**
 * @param {number} [epoch] over HTTP, where no connection identifies the session
 * @returns {string}
 */
export function pause(epoch) {
    return JSON.stringify({ type: "pause", epoch });
}

/**
 * @param {string} reason
 * @returns {string}
 */
export function cancel(reason) {
    return JSON.stringify({ type: "cancel", reason: shortened(reason) });
}

/**
 * @param {string} [limit] of the upload, as it is seen here
 * @returns {string}
 */
export function ping(limit) {
    return JSON.stringify({ type: "ping", limit });
}

/**
 * @param {"sign" | "sent"} type URLs are wanted for these parts; or the object store may have them
 * @param {number[]} parts
 */
export function about_parts(type, parts) {
    return JSON.stringify({ type, parts });
}

/** In one message about parts. */
export const MAX_PARTS = 100;

export const PONG = JSON.stringify({ type: "pong" });

/**
 * The 16 bytes in front of a chunk: version, seven zeros, offset as an unsigned 64-bit big-endian integer.
 * @param {number} offset
 * @returns {ArrayBuffer}
 */
export function chunk_header(offset) {
    const header = new ArrayBuffer(CHUNK_HEADER_SIZE);
    const view = new DataView(header);
    view.setUint8(0, CHUNK_VERSION);
    view.setUint32(8, Math.floor(offset / 2 ** 32));
    view.setUint32(12, offset % 2 ** 32);
    return header;
}

/**
 * A message from the server, or null for one of a newer server.
 * @param {unknown} data
 * @returns {ServerMessage | null}
 */
export function parse(data) {
    const message = parse_object(data);
    switch (message?.type) {
        case "welcome":
            return parse_welcome(message);
        case "ack":
            return well_formed(message.chunks) ? message : null;
        case "received":
            return well_formed(message.extents) && well_formed(message.ranges) ? message : null;
        case "signed":
            return are_urls(message.urls) && message.expires_in > 0 ? message : null;
        case "unseen":
            return are_parts(message.parts) ? message : null;
        case "state":
            return typeof message.state === "string" ? { ...message, reason: message.reason || "" } : null;
        case "error":
            return { ...message, ...problem(message) };
        case "path":
        case "paused":
        case "ping":
        case "pong":
            return message;
    }
    return null;
}

/**
 * @param {any} message
 * @returns {Welcome | null}
 */
export function parse_welcome(message) {
    if (message?.type !== "welcome" || !well_formed(message.extents) || !Number.isSafeInteger(message.epoch)) return null;
    return message;
}

/**
 * The parts of an error, the same over WebSocket and HTTP, with what is missing filled in.
 * @param {any} message
 * @returns {Problem}
 */
export function problem(message) {
    return {
        code: Number.isSafeInteger(message.code) ? message.code : 0,
        message: String(message.message || "the upload server reported an error"),
        retry: message.retry === true,
        retry_after: typeof message.retry_after === "number" ? message.retry_after : null,
    };
}

/**
 * @param {unknown} text
 * @returns {any} the JSON object, or null if it is none
 */
export function parse_object(text) {
    if (typeof text !== "string") return null;
    try {
        const value = JSON.parse(text);
        return typeof value === "object" ? value : null;
    } catch {
        return null;
    }
}

/**
 * @param {State} state
 * @returns {boolean} whether bytes are still missing
 */
export function is_receiving(state) {
    return state === "new" || state === "uploading";
}

/**
 * A welcome names the state only. Where there is a reason, a message with both follows at once.
 * @param {State} state
 */
export function reason_follows(state) {
    return state === "cancelled" || state === "failed";
}

/**
 * @param {State} state
 * @returns {boolean} whether the server has every byte
 */
export function has_arrived(state) {
    return state === "arrived" || state === "handing_over" || state === "waiting" || state === "finished";
}

/**
 * A new name for a session: 8 to 64 letters, digits, _ or -.
 * @param {() => number} random
 */
export function session_name(random) {
    return Array.from({ length: 24 }, () => Math.floor(random() * 36).toString(36)).join("");
}

/** @param {unknown} ranges */
function well_formed(ranges) {
    const is_range = (/** @type {unknown} */ range) =>
        Array.isArray(range) && Number.isSafeInteger(range[0]) && Number.isSafeInteger(range[1]) && range[0] < range[1];
    return Array.isArray(ranges) && ranges.every(is_range);
}

/** @param {unknown} parts */
function are_parts(parts) {
    return Array.isArray(parts) && parts.every((part) => Number.isSafeInteger(part) && part > 0);
}

/** @param {unknown} urls */
function are_urls(urls) {
    return Array.isArray(urls) && urls.every((one) => Array.isArray(one) && are_parts([one[0]]) && typeof one[1] === "string");
}
