// Where the module comes from that sends files: a file beside the library's. tools/bundle.mjs replaces this file in the
// classic script by one that has it inside.

/** @typedef {typeof import("../session/transfer.js")} TransferModule */

/** @type {TransferModule | null} without loading */
export const INSIDE = null;

/** A bundler writes its own name of the file here. */
const by_name = () => import("../session/transfer.js");

/**
 * Firefox keeps every failure of an import for its URL, WebKit that of a file that was cut: a further attempt has another
 * URL. Where a bundler has made something else of the import, its own way is repeated.
 * @param {number} attempt from 1
 * @returns {Promise<TransferModule>}
 */
export async function load_transfer(attempt) {
    const [, , name] = /import\((["'`])(\.[^"'`]+)\1\)/.exec(String(by_name)) ?? [];
    if (attempt === 1 || !name) return by_name();
    const folder = import.meta.url.replace(/[^/]*([?#].*)?$/, "");
    return import(/* @vite-ignore */ /* webpackIgnore: true */ folder + name + "?attempt=" + attempt);
}
