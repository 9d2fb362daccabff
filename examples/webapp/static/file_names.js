/** Names of files as text for people. A name is what somebody has typed: it may be written from right to left, and have
 * characters in it that cannot be seen or that turn what follows. */

// Control and format characters, line and paragraph separators; not the two joiners, and not the tags in some flags.
const INVISIBLE = /(?![\u200c\u200d\u{e0020}-\u{e007f}])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** "exe.\u202egpj" is "exe.‹U+202E›gpj". */
export function visible_name(name) {
    return name.replace(INVISIBLE, (char) => `‹U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

/** An element with the name, whose direction is its own and touches nothing around it. */
export function name_node(name) {
    const node = document.createElement("bdi");
    node.textContent = visible_name(name);
    return node;
}
