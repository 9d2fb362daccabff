// The public interface: its exports are the members of the one global, `incoming`.

import { browser } from "./page/environment.js";
import { PageContext } from "./page/page_context.js";
import { INSIDE } from "./page/transfer_module.js";
import { bad_argument } from "./transport/errors.js";
import { UploadQueue } from "./queue/upload_queue.js";
import { Uploader as UploaderClass } from "./uploader/uploader.js";

export { files_of } from "./queue/dropped_files.js";

// Only a classic script has the one, only a module has the other.
const script = typeof document === "undefined" ? null : document.currentScript;
/** A page that evaluates the library twice, as a script and a module or twice the script, has its settings once. */
const SHARED = Symbol.for("incoming.page " + (typeof __BUILD__ === "undefined" ? "" : __BUILD__));
/** @type {Record<symbol, PageContext | undefined>} */
const shared = /** @type {any} */ (globalThis);
const is_first = !shared[SHARED];
const page = (shared[SHARED] ??= new PageContext(browser(), {
    // Unlike `location` it is that of the page also in a worker made from a blob and in a frame made from a string.
    origin: globalThis.origin ?? globalThis.location?.origin ?? null,
    script: script && "src" in script ? String(script.src) : (import.meta.url ?? null),
}));
if (INSIDE) page.transfer_loader.provide(INSIDE);
if (is_first) page.begin();

/**
 * Set the address of the upload server, if it is not where the page comes from. Call it before any Uploader is created.
 * Throws a TypeError for an invalid host name.
 * @param {string} hostname "host" or "host:port", perhaps with a scheme in front or a path prefix behind
 */
export function set_server_hostname(hostname) {
    page.set_hostname(String(hostname ?? ""));
}

/** @returns {string} the URL below which the upload server in use is reached, with a slash at its end */
export function server_url() {
    return page.frontend;
}

/**
 * Choose the transport of uploads from now on: 'auto' is WebSocket, or HTTP where that does not work.
 * @param {"auto" | "websocket" | "http"} transport
 */
export function set_transport(transport) {
    if (!["auto", "websocket", "http"].includes(transport)) {
        throw bad_argument("set_transport() takes 'auto', 'websocket' or 'http'");
    }
    page.wanted_transport = transport;
}

/**
 * Choose the language of `state_msg` from now on.
 * @param {import("./incoming.js").LanguagePack | null} pack null for English
 */
export function set_language(pack) {
    if (pack && typeof pack["state.idle"] !== "string") throw bad_argument("set_language() takes a language pack or null");
    page.language = pack;
}

/** @returns {import("./incoming.js").UnfinishedUpload[]} the unfinished uploads of this site in this browser */
export function unfinished() {
    return page.unfinished.list();
}

/**
 * @param {File} file
 * @returns {import("./incoming.js").UnfinishedUpload | null} the unfinished upload that this file seems to belong to
 */
export function match(file) {
    return page.unfinished.match(file);
}

/**
 * The upload is no longer offered; the server keeps it until it expires or is cancelled.
 * @param {string} ticket
 */
export function forget(ticket) {
    page.unfinished.forget(ticket);
}

/**
 * @param {boolean} wanted whether this browser remembers unfinished uploads; without, those it has are forgotten
 */
export function set_remember(wanted) {
    if (!wanted) page.unfinished.forget_all();
    page.store.enabled = Boolean(wanted);
}

/**
 * An uploader for an unfinished upload whose file handle was kept. To be called on a click: the browser may ask the user
 * whether the page may read the file.
 * @param {string} ticket
 * @returns {Promise<UploaderClass>} not yet started
 */
export async function continue_upload(ticket) {
    const handle = await page.handles.find(ticket);
    if (!handle) throw new Error(`incoming: no file is remembered for upload ${ticket}`);
    if (!(await may_read(handle))) throw new Error("incoming: the file may not be read");
    return new UploaderClass(page, ticket, await handle.getFile(), { handle });
}

/**
 * @param {any} handle a FileSystemFileHandle, with the permissions that only Chromium has
 * @returns {Promise<boolean>}
 */
async function may_read(handle) {
    if (!handle.queryPermission) return true;
    const wanted = { mode: "read" };
    if ((await handle.queryPermission(wanted)) === "granted") return true;
    return (await handle.requestPermission(wanted)) === "granted";
}

/**
 * @param {string | import("./incoming.js").TicketFunction} ticket
 * @param {File} file
 * @param {import("./incoming.js").UploaderOptions} [options]
 */
function create(ticket, file, options) {
    return new UploaderClass(page, ticket, file, options);
}
create.prototype = UploaderClass.prototype;

/**
 * Creates an uploader for one file, with or without `new`; nothing happens before its `start()`.
 * `ticket` is what the app's backend got for this file, or a function that gets it from there.
 */
export const Uploader = /** @type {import("./incoming.js").UploaderConstructor} */ (/** @type {unknown} */ (create));

/**
 * @param {import("./incoming.js").TicketFunction} get_ticket
 * @param {import("./incoming.js").QueueOptions} [options]
 */
function create_queue(get_ticket, options) {
    return new UploadQueue(page.env, (...given) => new Uploader(...given), get_ticket, options);
}
create_queue.prototype = UploadQueue.prototype;

/** Creates a queue for many files, with or without `new`: it makes an uploader for each and starts a few at a time. */
export const Queue = /** @type {import("./incoming.js").QueueConstructor} */ (/** @type {unknown} */ (create_queue));
