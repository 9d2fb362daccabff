// Where the upload server is: host, scheme and path prefix. Decides the URLs; does not know what is said there.

const FRONTEND = "/incoming/0.1/frontend/";

/**
 * @typedef {object} Place of this script and of the page that loaded it
 * @property {string} page_host
 * @property {string} page_protocol such as "https:"
 * @property {string | null} script URL, of another name where the library is part of somebody's bundle; null where it cannot be known
 */

/**
 * The server's frontend URL as it is reached over HTTP, with a slash at its end.
 *
 * `hostname` is "host", "host:port", either with a scheme in front, or with the path prefix behind under which a
 * reverse proxy has put the server ("example.org/files"). Without a hostname it is the page's own host. The prefix is
 * the one that the script was loaded from, unless one is given.
 * @param {string} hostname
 * @param {Place} place
 * @returns {string}
 */
export function frontend_url(hostname, place) {
    const [, scheme, host, path] = /^\s*(?:(\w+):)?(?:\/\/)?([^/\s]*)([^?#\s]*)/.exec(with_scheme_apart(hostname)) ?? [];
    const secure = scheme ? /^(https|wss)$/i.test(scheme) : place.page_protocol !== "http:";
    const prefix = (path ?? "").replace(/\/+$/, "");
    return `${secure ? "https" : "http"}://${host || place.page_host}${prefix ? prefix + FRONTEND : script_folder(place)}`;
}

/**
 * "host:port" is not a scheme and a path: only what has two slashes behind its colon is a scheme.
 * @param {string} hostname
 */
function with_scheme_apart(hostname) {
    return /^\s*(\w+:)?\/\//.test(hostname) ? hostname : "//" + hostname.trim();
}

/** @param {Place} place */
function script_folder(place) {
    const match = /^[\w+.-]+:\/\/[^/]*(\/[^?#]*\/frontend\/)incoming\.m?js(?:[?#]|$)/.exec(place.script ?? "");
    return match?.[1] ?? FRONTEND;
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
