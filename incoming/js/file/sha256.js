// SHA-256 (FIPS 180-4) in plain JavaScript, for pages that are not secure: crypto.subtle does not exist there, and a
// digest must come out the same wherever the page was loaded from. A few hundred kilobytes take some milliseconds.

/**
 * Signed words: JavaScript's operators have these results, and others take twice as long. All indices are within.
 * @typedef {Record<number, any>} Words
 */

const PRIMES = first_primes(64);
/** @type {Words} */
const ROUND = Int32Array.from(PRIMES, (prime) => fraction_bits(Math.cbrt(prime)));
const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction_bits(Math.sqrt(prime)));
const BLOCK = 64;

/**
 * @param {Uint8Array} data
 * @returns {string} 64 hexadecimal digits
 */
export function sha256(data) {
    const state = Int32Array.from(START);
    const schedule = new Int32Array(64);
    const message = padded(data);
    const view = new DataView(message.buffer);
    for (let block = 0; block < message.length; block += BLOCK) compress(state, schedule, view, block);
    return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
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
 * @param {Words} state
 * @param {Words} schedule
 * @param {DataView} view
 * @param {number} block
 */
function compress(state, schedule, view, block) {
    for (let i = 0; i < 16; i++) schedule[i] = view.getInt32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
        const w15 = schedule[i - 15];
        const w2 = schedule[i - 2];
        const s0 = rotated(w15, 7) ^ rotated(w15, 18) ^ (w15 >>> 3);
        const s1 = rotated(w2, 17) ^ rotated(w2, 19) ^ (w2 >>> 10);
        schedule[i] = schedule[i - 16] + s0 + schedule[i - 7] + s1;
    }
    // Plain assignments: destructuring doubles the time, which a page's first upload waits for.
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    let e = state[4];
    let f = state[5];
    let g = state[6];
    let h = state[7];
    for (let i = 0; i < 64; i++) {
        const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
        const selector = (e & f) ^ (~e & g);
        const t1 = (h + s1 + selector + ROUND[i] + schedule[i]) | 0;
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
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
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
