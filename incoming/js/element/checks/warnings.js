// Warnings to the developer of a page, each once.

/** @type {Set<string>} */
const given = new Set();

/** @param {string} message */
export function warn_once(message) {
    if (given.has(message)) return;
    given.add(message);
    console.warn(`incoming: ${message}`);
}
