// Chance that can be repeated: a test that fails names its seed.
export function random_numbers(seed) {
    let state = Math.imul(seed + 1, 2654435761) >>> 0 || 1;
    // xorshift32
    const next = () => {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return (state >>> 0) / 2 ** 32;
    };
    return { next, below: (limit) => Math.floor(next() * limit) };
}
