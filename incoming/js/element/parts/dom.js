// Makes and changes DOM nodes. Texts go in as text, never as HTML: others have written some of them.

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | boolean | number | ((event: any) => void) | undefined>} [attributes] functions are listeners
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function h(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (typeof value === "function") node.addEventListener(key, value);
        else if (typeof value === "boolean") node.toggleAttribute(key, value);
        else if (value !== undefined) node.setAttribute(key, String(value));
    }
    node.append(...children);
    return node;
}

/**
 * Screen readers and selections are not disturbed where nothing is new.
 * @param {Element} node
 * @param {string} text
 */
export function set_text(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

/** Characters of a part that is never cut by the end of a line. */
const SHORT = 28;
const BETWEEN = "\u00a0· ";

/**
 * A line ends between the parts, not within one.
 * @param {Element} node
 * @param {readonly string[]} parts
 */
export function set_parts(node, parts) {
    if (node.textContent === parts.join(BETWEEN)) return;
    const nodes = parts.map((part) => h("bdi", { class: part.length > SHORT ? undefined : "short" }, part));
    node.replaceChildren(...nodes.flatMap((part, i) => (i ? [BETWEEN, part] : [part])));
}
