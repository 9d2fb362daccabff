// SHA-256 (FIPS 180-4) in plain JavaScript, for pages that are not secure: crypto.subtle does not exist there, and a
// digest must come out the same wherever the page was loaded from. A few hundred kilobytes take some tens of milliseconds.

const PRIMES = first_primes(64);
const ROUND = Int32Array.from(PRIMES, (prime) => fraction_bits(Math.cbrt(prime)));
const START = Uint32Array.from(PRIMES.slice(0, 8), (prime) => fraction_bits(Math.sqrt(prime)));
const BLOCK = 64;

/**
 * @param {Uint8Array} data
 * @returns {string} 64 hexadecimal digits
 */
export function sha256(data) {
    const state = Uint32Array.from(START);
    const schedule = new Uint32Array(64);
    const message = padded(data);
    const view = new DataView(message.buffer);
    for (let block = 0; block < message.length; block += BLOCK) compress(state, schedule, view, block);
    return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
}

/** @param {Uint8Array} data */
function padded(data) {
    const message = new Uint8Array(Math.ceil((data.length + 9) / BLOCK) * BLOCK);
    message.set(data);
    message[data.length] = 0x80;
    const view = new DataView(message.buffer);
    view.setUint32(message.length - 8, Math.floor(data.length / 2 ** 29));
    view.setUint32(message.length - 4, data.length << 3);
    return message;
}

/**
 * @param {Uint32Array} state
 * @param {Uint32Array} schedule
 * @param {DataView} view
 * @param {number} block
 */
function compress(state, schedule, view, block) {
    for (let i = 0; i < 16; i++) schedule[i] = view.getUint32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
        const w15 = word(schedule, i - 15);
        const w2 = word(schedule, i - 2);
        const s0 = rotated(w15, 7) ^ rotated(w15, 18) ^ (w15 >>> 3);
        const s1 = rotated(w2, 17) ^ rotated(w2, 19) ^ (w2 >>> 10);
        schedule[i] = word(schedule, i - 16) + s0 + word(schedule, i - 7) + s1;
    }
    let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
    // Plain assignments: this loop is the whole cost, and swapping by destructuring makes it ten times slower.
    for (let i = 0; i < 64; i++) {
        const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
        const selector = (e & f) ^ (~e & g);
        const t1 = (h + s1 + selector + word(ROUND, i) + word(schedule, i)) | 0;
        const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
        const majority = (a & b) ^ (a & c) ^ (b & c);
        h = g;
        g = f;
        f = e;
        e = (d + t1) | 0;
        d = c;
        c = b;
        b = a;
        a = (t1 + s0 + majority) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (state[i] = word(state, i) + value));
}

/**
 * @param {Uint32Array | Int32Array} words
 * @param {number} index
 */
function word(words, index) {
    return /** @type {number} */ (words[index]);
}

/**
 * @param {number} value
 * @param {number} bits
 */
function rotated(value, bits) {
    return (value >>> bits) | (value << (32 - bits));
}

/** @param {number} count */
function first_primes(count) {
    /** @type {number[]} */
    const primes = [];
    for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime)) primes.push(n);
    return primes;
}

/** @param {number} value */
function fraction_bits(value) {
    return ((value - Math.floor(value)) * 2 ** 32) | 0;
}
