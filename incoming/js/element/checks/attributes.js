// Notices attributes that are nearly those of an element: a slip would otherwise do nothing, without a word.

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
