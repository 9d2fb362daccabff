/** An upload's progress in words: how much, how fast, how long still. */

/** 1234567 is "1.23 MB". */
export function human_size(bytes) {
    if (bytes < 1000) return bytes === 1 ? "1 byte" : Math.round(bytes) + " bytes";
    let size = bytes;
    let unit = "";
    for (unit of ["kB", "MB", "GB", "TB"]) {
        size /= 1000;
        if (size < 999.5) break;
    }
    return size.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0) + " " + unit;
}

/** 3700 is "1 h 2 min". */
export function human_duration(seconds) {
    const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
    let rest = Math.max(1, Math.round(seconds));
    const first = units.findIndex(([, length]) => rest >= length);
    const words = [];
    for (const [unit, length] of units.slice(first, first + 2)) {
        const count = Math.floor(rest / length);
        rest -= count * length;
        if (count > 0) words.push(count + " " + unit);
    }
    return words.join(" ");
}

/** Bytes per second over the last seconds, out of the number of bytes that have arrived so far.
 *
 * Acknowledgements come in bursts, on a slow line many seconds apart. So the speed is that between the oldest and the
 * newest moment of a window of ten seconds - or longer, until there are three acknowledgements in it.
 */
export class Speedometer {
    #marks = []; // {time, bytes}, oldest first

    /** Returns the speed, or null while it is too early to tell. */
    measure(uploader, time = performance.now() / 1000) {
        // What an earlier connection has sent counts as arrived all at once: measure from there.
        if (!uploader.connected || uploader.paused || uploader.chunks_acked_now === 0) this.#marks = [];
        const newest = this.#marks.at(-1);
        const bytes = uploader.bytes_acked;
        if (newest === undefined || (bytes !== newest.bytes && time - newest.time > 0.2)) {
            this.#marks.push({ time, bytes });
        }
        while (this.#marks.length > 3 && time - this.#marks[1].time > 10) this.#marks.shift();
        const oldest = this.#marks[0];
        const speed = (bytes - oldest.bytes) / (time - oldest.time);
        return time - oldest.time > 0.5 && speed > 0 ? speed : null;
    }
}

/** "42 % - 1.26 GB of 3.00 GB - 45.1 MB/s - 39 s left", with dots for the dashes. */
export function progress_text(uploader, speed) {
    const { bytes_acked, bytes_total } = uploader;
    const parts = [
        Math.floor(uploader.frac_complete * 100) + " %",
        human_size(bytes_acked) + " of " + human_size(bytes_total),
    ];
    if (speed !== null && bytes_acked < bytes_total) {
        parts.push(human_size(speed) + "/s", human_duration((bytes_total - bytes_acked) / speed) + " left");
    }
    // On a narrow screen lines end between the parts, not within one.
    return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}
