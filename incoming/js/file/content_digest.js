// A digest of bytes that detects accidental changes: 53 bits, fast in every browser and on pages without https, where
// browsers offer no digest of their own. It is no protection against people: nobody deceives the server by their own file.

const FACTOR_1 = 0x85ebca6b;
const FACTOR_2 = 0xc2b2ae35;

/**
 * Two lanes take the words in turn. Each step maps both the state and the word one to one, so a single word that was
 * changed always changes its lane.
 * @param {Uint8Array} bytes that begin at a multiple of 4 of their buffer
 * @returns {number} an integer
 */
export function content_digest(bytes) {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
    const pairs = words.length & ~1;
    let [a, b] = [bytes.byteLength, FACTOR_1];
    for (let i = 0; i < pairs; i += 2) {
        a = Math.imul(a ^ /** @type {number} */ (words[i]), FACTOR_1);
        b = Math.imul(b ^ /** @type {number} */ (words[i + 1]), FACTOR_1);
        // With one multiplication a change of the highest bit could be undone by the next word, always the same.
        a = Math.imul(a ^ (a >>> 15), FACTOR_2);
        b = Math.imul(b ^ (b >>> 15), FACTOR_2);
    }
    for (const word of words.subarray(pairs)) a = mixed(a ^ word);
    for (const byte of bytes.subarray(words.length * 4)) b = mixed(b ^ byte);
    b = mixed(b ^ a);
    a = mixed(a ^ b);
    return (a >>> 0) * 2 ** 21 + (b >>> 11);
}

/**
 * Mixes every bit into every other.
 * @param {number} word
 */
function mixed(word) {
    word = Math.imul(word ^ (word >>> 16), FACTOR_1);
    word = Math.imul(word ^ (word >>> 13), FACTOR_2);
    return word ^ (word >>> 16);
}
