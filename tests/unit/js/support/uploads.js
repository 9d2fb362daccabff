// Uploads as the element sees them: what an uploader and a queue show at one moment, without either.
import english from "../../../../incoming/js/locales/en.js";
import { Translator } from "../../../../incoming/js/element/texts/translator.js";

export const ENGLISH = new Translator(english, "en-GB");

export const GB = 1e9;

export function upload_of(changes = {}) {
    const [bytes_total, bytes_acked] = [changes.bytes_total ?? 3 * GB, changes.bytes_acked ?? 0];
    return {
        upload_id: "t-1",
        filename: "film.mp4",
        path: "film.mp4",
        state: "transferring",
        rate: 0,
        eta: null,
        next_try_in: null,
        error_name: null,
        error_code: null,
        error_msg: "",
        cancel_msg: "",
        ...changes,
        bytes_total,
        bytes_acked,
        frac_complete: bytes_acked / bytes_total,
    };
}

export function queue_snapshot(uploads) {
    const count = (...states) => uploads.filter((one) => states.includes(one.state)).length;
    const sum = (name) => uploads.reduce((total, one) => total + one[name], 0);
    return {
        uploads,
        files_total: uploads.length,
        files_finished: count("finished"),
        files_failed: count("failed"),
        files_cancelled: count("cancelled"),
        files_active: uploads.length - count("finished", "failed", "cancelled"),
        bytes_total: sum("bytes_total"),
        bytes_acked: sum("bytes_acked"),
        frac_complete: sum("bytes_acked") / sum("bytes_total"),
        rate: sum("rate"),
        eta: null,
        paused: false,
    };
}
