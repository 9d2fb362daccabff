// Checks the options that a page gives: a misspelt one would otherwise be ignored silently. Pure.

import { did_you_mean } from "../did_you_mean.js";
import { bad_argument } from "../transport/errors.js";

/**
 * @param {string} owner with its article
 * @param {object} given
 * @param {readonly string[]} known
 * @throws {TypeError} for an unknown option
 */
export function check_options(owner, given, known) {
    for (const name of Object.keys(given)) {
        if (known.includes(name)) continue;
        throw bad_argument(`${owner} has no option "${name}"${did_you_mean(name, known) || `; its options are ${known.join(", ")}`}`);
    }
}
