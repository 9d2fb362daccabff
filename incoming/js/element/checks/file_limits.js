// Which of the chosen files are taken: by type, size and number, by the element's attributes. The server has limits of
// its own; these are checked before anything is sent. Pure.

/** @typedef {import("../../incoming.js").ChosenFile} ChosenFile */
/** @typedef {{accept: string, max_size: number, max_files: number}} Limits 0 for no limit */
/** @typedef {[string, Record<string, string | number>]} Message key and parameters; sizes in bytes */

/** @type {Record<string, number>} */
const UNITS = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, ki: 2 ** 10, mi: 2 ** 20, gi: 2 ** 30, ti: 2 ** 40 };

/**
 * @param {readonly ChosenFile[]} files
 * @param {number} present files that count already
 * @param {Limits} limits
 * @returns {{taken: ChosenFile[], problems: Message[]}}
 */
export function within_limits(files, present, { accept, max_size, max_files }) {
    /** @type {Message[]} */
    const problems = [];
    /** @type {ChosenFile[]} */
    const taken = [];
    let refused = false;
    for (const chosen of files) {
        const { name, size } = chosen.file;
        if (!is_accepted(chosen.file, accept)) problems.push(["wrong_type", { name }]);
        else if (max_size && size > max_size) problems.push(["too_large", { name, size: max_size }]);
        else if (max_files && present + taken.length >= max_files) refused = true;
        else taken.push(chosen);
    }
    if (refused) problems.push(["too_many", { count: max_files }]);
    return { taken, problems };
}

/**
 * As of the `accept` attribute in HTML: extensions and media types, with commas between them.
 * @param {File} file
 * @param {string} accept
 */
function is_accepted({ name, type }, accept) {
    const wanted = accept.toLowerCase().split(",").map((one) => one.trim()).filter(Boolean);
    const [given, kind] = [name.toLowerCase(), type.toLowerCase()];
    return !wanted.length || wanted.some((one) => fits(one, given, kind));
}

/**
 * @param {string} wanted
 * @param {string} name
 * @param {string} type
 */
function fits(wanted, name, type) {
    if (wanted.startsWith(".")) return name.endsWith(wanted);
    return wanted.endsWith("/*") ? type.startsWith(wanted.slice(0, -1)) : type === wanted;
}

/**
 * @param {string} text "500MB", "2 GiB", "1000"; "" for no limit
 * @returns {number | null} bytes, null for what is no size
 */
export function parse_size(text) {
    const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?)b?\s*$/i.exec(text) ?? [];
    if (number === undefined) return text.trim() ? null : 0;
    return Math.floor(Number(number) * Number(UNITS[String(unit).toLowerCase()]));
}
