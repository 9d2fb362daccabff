// Where the upload server is: host, scheme and path prefix. Decides the URLs, not what is sent there.

import { bad_argument } from "./errors.js";

const FRONTEND = "/incoming/0.1/frontend/";

const HOSTNAME = /^(?:(?:(https?|wss?):)?\/\/)?([^/\s?#]+)(\/(?!\/)[^\s?#]*)?$/i;
/** The library as the server serves it, perhaps under a version: .../incoming/0.1/frontend/[version/]incoming.js */
const SERVED_SCRIPT = /^https?:\/\/[^/]+(\/(?:[^?#]*\/)?incoming\/(?:[\d.]+\/)?frontend\/)(?:[\w.-]+\/)?incoming\.m?js(?:[?#]|$)/;

/**
 * @typedef {object} Place of this script and of the page that loaded it
 * @property {string | null} origin of the page, such as "https://app.example"; "null" or null where it has none
 * @property {string | null} script URL, of another name where the library is part of somebody's bundle; null where it cannot be known
 */

/**
 * The server's frontend URL as it is reached over HTTP, with a slash at its end.
 *
 * `hostname` is "host", "host:port", either with a scheme in front, or with the path prefix behind under which a
 * reverse proxy has put the server ("example.org/files"). Without a hostname it is the page's own host; a page without an
 * origin (a file, a sandboxed frame) uses the script's. The prefix is the one that the script was loaded from, unless one
 * is given.
 * @param {string} hostname
 * @param {Place} place
 * @returns {string}
 * @throws {TypeError} for what is no host name
 */
export function frontend_url(hostname, place) {
    const { scheme, host, path } = parse_hostname(hostname);
    const page = http_origin(place.origin) ?? http_origin(place.script) ?? { secure: true, host: "" };
    const secure = scheme ? /s$/i.test(scheme) : page.secure;
    return `${secure ? "https" : "http"}://${host || page.host}${folder(path) ?? script_folder(place)}`;
}

/** @param {string} hostname */
function parse_hostname(hostname) {
    // "host:port" is not a scheme and a path: only what has two slashes behind its colon is a scheme.
    const text = hostname.trim();
    const [, scheme = "", host = "", path = ""] = HOSTNAME.exec(text) ?? [];
    if (text && !(host && is_valid(host + path))) {
        throw bad_argument(`set_server_hostname() takes "host", "host:port" or a URL of https or http; given: ${text}`);
    }
    return { scheme, host, path };
}

/** @param {string} address host and path */
function is_valid(address) {
    try {
        return Boolean(new URL(`https://${address}`));
    } catch {
        return false;
    }
}

/**
 * @param {string | null} url
 * @returns {{secure: boolean, host: string} | null} null unless it is an HTTP URL or origin
 */
function http_origin(url) {
    const [, secure, host = ""] = /^http(s?):\/\/([^/?#]+)/i.exec(url ?? "") ?? [];
    return host ? { secure: secure !== "", host } : null;
}

/**
 * @param {string} path
 * @returns {string | null} null without a path
 */
function folder(path) {
    const prefix = path.replace(/\/+$/, "");
    if (!prefix) return null;
    return /\/incoming(\/[\d.]+)?\/frontend$/.test(prefix) ? `${prefix}/` : prefix + FRONTEND;
}

/**
 * Only the server's own URL identifies the server; a bundled copy does not.
 * @param {Place} place
 */
function script_folder(place) {
    return SERVED_SCRIPT.exec(place.script ?? "")?.[1] ?? FRONTEND;
}

/**
 * @param {string} frontend
 * @param {string} ticket
 */
export function websocket_url(frontend, ticket) {
    return `${frontend.replace(/^http/, "ws")}upload_ws?ticket=${encodeURIComponent(ticket)}`;
}

/**
 * @param {string} frontend
 * @param {string} ticket
 */
export function upload_url(frontend, ticket) {
    return `${frontend}upload/${encodeURIComponent(ticket)}`;
}

/**
 * @param {string} frontend
 * @param {string} ticket
 * @param {string} hello message
 */
export function whole_url(frontend, ticket, hello) {
    return `${upload_url(frontend, ticket)}/whole?hello=${encodeURIComponent(hello)}`;
}

/** @param {string} frontend */
export function wait_url(frontend) {
    return `${frontend}uploads/wait`;
}
