// Where language packs come from: beside the module. tools/packages.mjs replaces this file in the npm package by one whose
// imports a bundler can see.

/**
 * @param {string} language
 * @returns {Promise<{default: import("../../incoming.js").LanguagePack}>}
 */
export function load_pack(language) {
    return import(new URL(`./locales/${language}.mjs`, import.meta.url).href);
}
