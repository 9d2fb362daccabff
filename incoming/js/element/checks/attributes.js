// Warns of misspelt attributes and invalid values of an element: they would otherwise be ignored silently.

import { did_you_mean } from "../../did_you_mean.js";
import { warn_once } from "./warnings.js";

/**
 * @param {Element} element
 * @param {readonly string[]} known
 */
export function check_attributes(element, known) {
    for (const name of element.getAttributeNames()) {
        const own = known.includes(name) || /^(data|aria)-/.test(name);
        const meant = own ? "" : did_you_mean(name, known);
        if (meant) warn_once(`<${element.localName}> has no attribute "${name}"${meant}`);
    }
}

/**
 * @param {Element} element
 * @param {string} name of an attribute that holds a number from 1 on
 * @param {number} otherwise where there is none
 */
export function number_attribute(element, name, otherwise) {
    const text = element.getAttribute(name);
    if (!text) return otherwise;
    if (Number(text) >= 1) return Number(text);
    warn_once(`<${element.localName}> has ${name}="${text}", which is no number from 1 on`);
    return otherwise;
}
