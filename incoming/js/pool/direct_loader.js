// Where the sender of parts comes from: a module beside the library's. tools/bundle.mjs replaces this file in the classic
// script by one that has it.

/** @returns {Promise<typeof import("./direct_sender.js")>} */
export function load_direct() {
    return import("./direct_sender.js");
}
