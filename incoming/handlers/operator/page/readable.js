// Numbers, times, states and foreign text as people can read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** @param {number} bytes */
export function readableSize(bytes) {
    let unit = 0;
    let value = bytes;
    while (value >= 1023.5 && unit < UNITS.length - 1) {
        value /= 1024;
        unit += 1;
    }
    const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** @param {number} seconds */
export function readableDuration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/**
 * Foreign text in which nothing is invisible: control and formatting characters, such as those that turn the reading
 * direction, are spelled out.
 *
 * @param {string} text
 */
export function visible(text) {
    return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** A moment in the time zone of the browser. @param {number} time seconds since the epoch */
export function readableTime(time) {
    return new Date(time * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
}

/** @type {Record<string, string>} */
export const STATE_NAMES = {
    new: "new",
    uploading: "uploading",
    arrived: "arrived",
    handing_over: "handing over",
    waiting: "waiting for app",
    finished: "finished",
    cancelled: "cancelled",
    failed: "failed",
};
