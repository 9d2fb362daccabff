// Where the module comes from that sends files: a file beside the library's. tools/bundle.mjs replaces this file in the
// classic script by one that has it inside.

import { BAD_ARGUMENT, fatal } from "../transport/errors.js";

/** @typedef {typeof import("../session/transfer.js")} TransferModule */

const WRONG_BUILD =
    "a service worker cannot load modules later: import incoming.js instead of incoming.mjs (of the npm package, incoming-upload/script)";

/** @type {TransferModule | null} without loading */
export const INSIDE = null;

/** A bundler writes its own name of the file here. */
const by_name = () => import("../session/transfer.js");

/**
 * Rejects with a Problem where no further attempt can succeed. Service workers refuse every `import()` with a TypeError, but
 * a bundler may have put another way in its place.
 * @param {number} attempt from 1
 * @returns {Promise<TransferModule>}
 */
export async function load_transfer(attempt) {
    try {
        return await import_transfer(attempt);
    } catch (error) {
        throw "ServiceWorkerGlobalScope" in globalThis && error instanceof TypeError ? fatal(BAD_ARGUMENT, WRONG_BUILD) : error;
    }
}

/**
 * Firefox keeps every failure of an import for its URL, WebKit that of a file that was cut: a further attempt has another
 * URL. Where a bundler has made something else of the import, its own way is repeated.
 * @param {number} attempt from 1
 * @returns {Promise<TransferModule>}
 */
async function import_transfer(attempt) {
    const [, , name] = /import\((["'`])(\.[^"'`]+)\1\)/.exec(String(by_name)) ?? [];
    if (attempt === 1 || !name) return by_name();
    const folder = import.meta.url.replace(/[^/]*([?#].*)?$/, "");
    return import(/* @vite-ignore */ /* webpackIgnore: true */ folder + name + "?attempt=" + attempt);
}
