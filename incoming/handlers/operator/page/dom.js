// Elements of the page: found, made, filled. Whatever comes from clients is only ever set as text.

/** @param {string} id */
export function element(id) {
    const found = document.getElementById(id);
    if (!found) throw new Error(`the page has no ${id}`);
    return found;
}

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {...(Node | string)} children
 */
export function make(tag, className = "", ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
}

/** Sets text only where it differs, so that a selection survives. @param {Node} node @param {string} text */
export function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

/** @param {number} count @param {string} one */
export function counted(count, one) {
    return `${count} ${one}${count === 1 ? "" : "s"}`;
}
