// The texts of an upload's details: what it waits for, the figures, and a report for support. Pure; the diagnosis is the
// uploader's, the words are the language pack's.

import { OF_DETAILS } from "../../locales/en.js";

/** @typedef {import("../../incoming.js").Uploader} Uploader */
/** @typedef {import("../../incoming.js").Diagnosis} Diagnosis */
/** @typedef {import("./translator.js").Translator} Translator */

/** Share of its own limit from which on that limit determines the rate. */
const HELD = 0.8;
/** @type {Record<string, string>} as they are written, by the browser's names */
const PROTOCOLS = { "http/1.0": "HTTP/1.0", "http/1.1": "HTTP/1.1", h2: "HTTP/2", h3: "HTTP/3" };

/**
 * English, which is there without its pack, lacks the texts of details.
 * @param {Translator} texts
 */
export function complete(texts) {
    if (!texts.has("copy_report")) texts.complete(OF_DETAILS);
}

/**
 * @param {Diagnosis} diagnosis
 * @param {Translator} texts
 * @returns {string} what limits the upload
 */
export function limit_text({ limit, max_rate, rate, multiplexed, protocol }, texts) {
    if (limit === "line" && multiplexed) return texts.text("why.multiplexed", { protocol: PROTOCOLS[protocol] ?? protocol });
    if (limit === "browser" && max_rate > 0 && rate > HELD * max_rate) return texts.text("why.max_rate", { rate: texts.rate(max_rate) });
    const key = `why.${limit}`;
    return texts.text(texts.has(key) ? key : "why.unknown");
}

/**
 * @param {Diagnosis} diagnosis
 * @param {Translator} texts
 * @returns {[key: string, value: string][]} the available figures, with the keys of their names
 */
export function figures(diagnosis, texts) {
    const { connections, rate, ack_delay, bytes_ahead, bytes_buffered, server } = diagnosis;
    /** @type {[string, string | number | boolean | null | undefined][]} */
    const found = [
        ["figure.transport", transport_text(diagnosis, texts)],
        ["figure.connections", texts.number(connections)],
        ["figure.rate", rate > 0 && texts.rate(rate)],
        ["figure.ack_delay", ack_delay && texts.delay(ack_delay)],
        ["figure.rtt", server?.rtt && texts.delay(server.rtt)],
        ["figure.packets", server && `${texts.number(server.retransmits)} / ${texts.number(server.out_of_order)}`],
        ["figure.bytes_ahead", texts.size(bytes_ahead)],
        ["figure.bytes_buffered", texts.size(bytes_buffered)],
        ["figure.pending", server && texts.size(server.pending)],
    ];
    return /** @type {[string, string][]} */ (found.filter(([, value]) => value));
}

/**
 * @param {Diagnosis} diagnosis
 * @param {Translator} texts
 */
function transport_text({ transport, protocol }, texts) {
    if (transport === "direct") return texts.text("figure.direct");
    return transport === "websocket" ? "WebSocket" : transport && (PROTOCOLS[protocol] ?? "HTTP");
}

/**
 * For a message to support, in English: neither the ticket nor the file's name, nor any address.
 * @param {Uploader} upload
 * @param {{time: Date, browser: string}} context
 * @returns {string} a line for each figure
 */
export function report(upload, { time, browser }) {
    const { server, ...diagnosis } = upload.diagnosis();
    const { bytes_total, bytes_acked, error_name, error_code, next_try_in } = upload;
    const version = typeof __VERSION__ === "undefined" ? "" : __VERSION__;
    const of_server = Object.entries(server ?? {}).map(([name, value]) => [`server.${name}`, value]);
    const all = { version, time: time.toISOString(), browser, bytes_total, bytes_acked, error_name, error_code, next_try_in };
    const lines = [...Object.entries({ ...all, ...diagnosis }), ...of_server];
    return ["Incoming!! upload", ...lines.map(([name, value]) => `${name}: ${value ?? "-"}`)].join("\n");
}
