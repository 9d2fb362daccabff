// The public face: what is exported here is what pages find in the one global, `incoming`.

import { browser } from "./environment.js";
import { Page } from "./page.js";
import { Uploader as UploaderClass } from "./uploader.js";

const script = typeof document === "undefined" ? null : document.currentScript;
const page = new Page(browser(), {
    page_host: globalThis.location?.host ?? "",
    page_protocol: globalThis.location?.protocol ?? "https:",
    script: script && "src" in script ? String(script.src) : null,
});
page.courier.resume();

/**
 * Says where the upload server is, if it is not where the page comes from. Call it before any Uploader is created.
 * @param {string} hostname "host" or "host:port", perhaps with a scheme in front or a path prefix behind
 */
export function set_server_hostname(hostname) {
    page.hostname = String(hostname ?? "");
}

/**
 * Chooses how uploads are carried from now on: 'auto' is a WebSocket, or HTTP where that does not work.
 * @param {"auto" | "websocket" | "http"} transport
 */
export function set_transport(transport) {
    if (!["auto", "websocket", "http"].includes(transport)) {
        throw new TypeError("incoming: set_transport() takes 'auto', 'websocket' or 'http'");
    }
    page.transports.wanted = transport;
}

/**
 * @param {string} upload_id
 * @param {File} file
 */
function create(upload_id, file) {
    return new UploaderClass(page, upload_id, file);
}
create.prototype = UploaderClass.prototype;

/**
 * Creates an uploader for one file, with or without `new`; nothing happens before its `start()`.
 * `upload_id` is the ticket that the app's backend got for this file.
 */
export const Uploader = /** @type {import("./incoming.js").UploaderConstructor} */ (/** @type {unknown} */ (create));
