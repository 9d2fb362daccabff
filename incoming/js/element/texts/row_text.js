// The texts of rows, total and unfinished list: which figures belong to which state. Pure; the words are the
// language pack's.

/** @typedef {import("../../incoming.js").Uploader} Uploader */
/** @typedef {import("../../incoming.js").QueueSnapshot} QueueSnapshot */
/** @typedef {import("./translator.js").Translator} Translator */

/** @type {Set<string>} in these states an upload waits for something to pass by itself */
export const TROUBLE = new Set(["reconnecting", "waiting", "arrived", "delayed"]);
const WITH_PROGRESS = new Set(["transferring", "reconnecting", "waiting", "paused", "failed"]);

/**
 * @param {Uploader} upload
 * @param {Translator} texts
 */
export function error_text(upload, texts) {
    const { error_name, error_code, error_msg } = upload;
    if (error_name === "ticket_refused") return error_msg;
    const key = `error.${error_name}`;
    return texts.has(key) ? texts.text(key) : texts.text("error.other", { code: String(error_code ?? "") });
}

/**
 * @param {Uploader} upload
 * @param {Translator} texts
 */
export function state_text(upload, texts) {
    const { state, cancel_msg } = upload;
    const key = state === "cancelled" && cancel_msg ? "state.cancelled_because" : `state.${state}`;
    return texts.text(texts.has(key) ? key : "state.connecting", { error: error_text(upload, texts), reason: cancel_msg });
}

/**
 * @param {Uploader} upload
 * @param {boolean} queued whether it waits for its turn
 * @param {Translator} texts
 * @returns {string[]} the parts of a row's line
 */
export function row_parts(upload, queued, texts) {
    const { state, bytes_acked, bytes_total, next_try_in } = upload;
    const parts = [];
    if (queued) parts.push(texts.text("state.idle"));
    else if (state !== "transferring") parts.push(state_text(upload, texts));
    if (state === "reconnecting" || state === "waiting") parts.push(texts.text("nothing_lost"));
    if (next_try_in !== null) parts.push(texts.text("next_try", { time: texts.duration(Math.ceil(next_try_in)) }));
    if (WITH_PROGRESS.has(state) && bytes_acked > 0) parts.push(...progress_parts(upload, texts));
    else if (state !== "cancelled") parts.push(texts.size(bytes_total));
    return parts;
}

/**
 * @param {{bytes_acked: number, bytes_total: number, frac_complete: number, rate: number, eta: number | null}} progress
 * @param {Translator} texts
 */
export function progress_parts({ bytes_acked, bytes_total, frac_complete, rate, eta }, texts) {
    const parts = [
        texts.percent(frac_complete),
        texts.text("of", { done: texts.size(bytes_acked), total: texts.size(bytes_total) }),
    ];
    if (rate > 0 && bytes_acked < bytes_total) parts.push(texts.rate(rate));
    if (eta) parts.push(texts.text("time_left", { time: texts.duration(eta) }));
    return parts;
}

/**
 * @param {QueueSnapshot} all
 * @param {Translator} texts
 */
export function total_parts(all, texts) {
    return [texts.text("files_done", { done: all.files_finished, count: all.files_total }), ...progress_parts(all, texts)];
}
