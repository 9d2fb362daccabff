// A digest of samples of a file's content, which distinguishes a file that was changed between two sessions from the one
// that the upload was begun with. Decides what is sampled; it takes milliseconds however large the file is.

import { sha256 } from "./sha256.js";

const EDGE = 64 * 1024;
const SAMPLE = 4 * 1024;
const SAMPLES = 8;
/** Goes in front of the digest, so that another choice of samples never looks like another content. */
const KIND = "1-";
/** Bytes of a file up to which its fingerprint is of all of them. */
export const SAMPLED_WHOLE = 2 * EDGE + SAMPLES * SAMPLE;

/**
 * Rejects as `file.read` does when the file cannot be read.
 * @param {{size: number, read: (start: number, end: number) => Promise<Uint8Array>}} file
 * @param {SubtleCrypto | null} crypto the browser's own, which is faster; the digest is the same without
 * @returns {Promise<string>}
 */
export async function fingerprint(file, crypto) {
    const parts = await Promise.all(sampled(file.size).map(([start, end]) => file.read(start, end)));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of parts) {
        bytes.set(part, offset);
        offset += part.length;
    }
    return KIND + (crypto ? hexadecimal(await crypto.digest("SHA-256", bytes)) : sha256(bytes));
}

/** @param {ArrayBuffer} bytes */
function hexadecimal(bytes) {
    return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The whole of a small file; of a larger one both ends and some places between them.
 * @param {number} size
 * @returns {[number, number][]}
 */
export function sampled(size) {
    if (size <= SAMPLED_WHOLE) return [[0, size]];
    /** @type {[number, number][]} */
    const ranges = [[0, EDGE]];
    const step = (size - 2 * EDGE) / SAMPLES;
    for (let i = 0; i < SAMPLES; i++) {
        const start = Math.floor(EDGE + i * step);
        ranges.push([start, start + SAMPLE]);
    }
    ranges.push([size - EDGE, size]);
    return ranges;
}
