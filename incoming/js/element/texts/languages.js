// The language of an element, and its pack: the nearest `lang` attribute, else the browser's language. English is
// always there, the others are loaded from beside this module when they are first needed.

import { did_you_mean } from "../../did_you_mean.js";
import { ALWAYS as english } from "../../locales/en.js";
import { load_pack } from "./pack_loader.js";
import { Translator } from "./translator.js";
import { warn_once } from "../checks/warnings.js";

/** @typedef {import("../../incoming.js").LanguagePack} LanguagePack */

/** Those that have a pack; a test holds the list to the folder. */
export const LANGUAGES = "ar cs da de en es fa fi fr he hi hu it ja ko nb nl pl pt ru sv tr uk zh".split(" ");
/** @type {Record<string, string>} */
const SAME = { no: "nb", nn: "nb", iw: "he" };

/** @type {Map<string, LanguagePack | Promise<LanguagePack>>} */
const packs = new Map([["en", english]]);
/** @type {Map<string, Translator>} */
const translators = new Map();

/**
 * A pack of the app's own, or one that it has bundled.
 * @param {LanguagePack} pack
 */
export function add_language(pack) {
    if (typeof pack?.language !== "string") throw new TypeError("incoming: a language pack has a `language`");
    packs.set(pack.language, pack);
    translators.clear();
}

/**
 * @param {string} tag BCP 47
 * @returns {string | null} the language of the pack for it
 */
export function language_for(tag) {
    const parts = tag.toLowerCase().split("-");
    for (let length = parts.length; length > 0; length--) {
        const name = parts.slice(0, length).join("-");
        const known = SAME[name] ?? name;
        const found = [...packs.keys(), ...LANGUAGES].find((language) => language.toLowerCase() === known);
        if (found) return found;
    }
    return null;
}

/**
 * @param {Element} element
 * @returns {string} BCP 47
 */
export function language_of(element) {
    for (let node = /** @type {Element | undefined} */ (element); node; node = /** @type {any} */ (node.getRootNode()).host) {
        const lang = node.closest("[lang]")?.getAttribute("lang");
        if (lang) return lang;
    }
    return navigator.language || "en";
}

/**
 * @param {string} tag BCP 47
 * @returns {Translator | Promise<Translator>} at once if its pack is there
 */
export function translator(tag) {
    const known = translators.get(tag);
    if (known) return known;
    const language = language_for(tag);
    if (!language) warn_once(`there is no language pack for "${tag}"${did_you_mean(tag, LANGUAGES)}; English is used`);
    const pack = pack_of(language ?? "en");
    return pack instanceof Promise ? pack.then((loaded) => remembered(tag, loaded)) : remembered(tag, pack);
}

/**
 * @param {string} tag
 * @param {LanguagePack} pack
 */
function remembered(tag, pack) {
    const made = new Translator(pack, is_of(tag, pack.language) ? tag : pack.language);
    translators.set(tag, made);
    return made;
}

/**
 * @param {string} tag that a page has given: it may be none
 * @param {string} language of the pack
 */
function is_of(tag, language) {
    try {
        return new Intl.Locale(tag).language === new Intl.Locale(language).language;
    } catch {
        return false;
    }
}

/** @param {string} language */
function pack_of(language) {
    let pack = packs.get(language);
    if (!pack) {
        pack = load_pack(language).then(
            (module) => module.default,
            (error) => {
                warn_once(`the language pack "${language}" cannot be loaded (${error.message}); English is used`);
                return english;
            },
        );
        pack.then((/** @type {LanguagePack} */ loaded) => packs.set(language, loaded));
        packs.set(language, pack);
    }
    return pack;
}
