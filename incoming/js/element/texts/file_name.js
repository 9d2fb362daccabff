// Names of files as they are shown: characters that cannot be seen, or that reorder others, appear as their numbers. Pure.

// Control and format characters, line and paragraph separators; not the two joiners, and not the tags in some flags.
const INVISIBLE = /(?![\u200c\u200d\u{e0020}-\u{e007f}])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * @param {string} name
 * @returns {string} "exe.\u202egpj" as "exe.‹U+202E›gpj"
 */
export function visible_name(name) {
    return name.replace(INVISIBLE, (char) => `‹U+${char.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}›`);
}
