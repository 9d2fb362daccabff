// Finds the valid name that an unknown one may stand for. Library and element both use it. Pure.

/**
 * @param {string} given
 * @param {Iterable<string>} known
 * @returns {string} `; did you mean "x"?`, or "" where nothing is close
 */
export function did_you_mean(given, known) {
    const close = [...known].map((name) => /** @type {const} */ ([distance(given.toLowerCase(), name.toLowerCase()), name]));
    const [best] = close.sort(([a], [b]) => a - b);
    return best && best[0] <= Math.max(1, given.length / 3) ? `; did you mean "${best[1]}"?` : "";
}

/**
 * Levenshtein's: how many letters have to be inserted, removed or replaced.
 * @param {string} a
 * @param {string} b
 */
function distance(a, b) {
    let above = Array.from({ length: b.length + 1 }, (_, i) => i);
    for (let i = 1; i <= a.length; i++) {
        const row = [i];
        for (let j = 1; j <= b.length; j++) {
            const same = a[i - 1] === b[j - 1] ? 0 : 1;
            row[j] = Math.min(Number(above[j]) + 1, Number(row[j - 1]) + 1, Number(above[j - 1]) + same);
        }
        above = row;
    }
    return Number(above[b.length]);
}
