// What the details of an upload say, for each of the five that may limit it, and what a report has and does not have.
import assert from "node:assert/strict";
import test from "node:test";
import { Translator } from "../../../../../incoming/js/element/texts/translator.js";
import english, { ALWAYS } from "../../../../../incoming/js/locales/en.js";
import { complete, figures, limit_text, report } from "../../../../../incoming/js/element/texts/diagnosis_text.js";
import { ENGLISH, upload_of } from "../../support/uploads.js";

const SERVER = { limit: "", seconds: 5, rate: 2e6, delay: 0.2, pending: 300_000, rtt: 0.031, retransmits: 4, out_of_order: 1234 };

function diagnosis(changes = {}) {
    const path = { protocol: "", connections: 4, bytes_buffered: 1e6, ack_delay: 1.25, lag: 0.01, reading: 0, server: SERVER };
    return { limit: "line", state: "transferring", transport: "websocket", rate: 2.5e6, max_rate: 0, bytes_ahead: 5e6, ...path, ...changes };
}

const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ");

for (const [limit, wanted] of [
    ["line", "The line to the server sets the pace"],
    ["browser", "This browser sets the pace: the page is busy, or the file is read slowly"],
    ["server", "The server sets the pace: it is busy, or limits the upload"],
    ["disk", "The server’s storage sets the pace"],
    ["app", "The site sets the pace: its answer is awaited"],
    [null, "What sets the pace is not known yet"],
    ["a later one", "What sets the pace is not known yet"],
]) {
    test(`the details of an upload that is limited by ${limit}`, () => assert.equal(limit_text(diagnosis({ limit }), ENGLISH), wanted));
}

test("requests that share one connection are named where the line sets the pace", () => {
    const shared = { transport: "http", protocol: "h2", multiplexed: true };
    const wanted = "The line sets the pace, and over HTTP/2 all connections share one, which slows the upload";
    assert.equal(limit_text(diagnosis(shared), ENGLISH), wanted);
    assert.match(limit_text(diagnosis({ ...shared, limit: "disk" }), ENGLISH), /storage/);
});

test("an upload that its page holds is not called slow because of the browser", () => {
    const held = { limit: "browser", max_rate: 1e6, rate: 0.95e6 };
    assert.equal(plain(limit_text(diagnosis(held), ENGLISH)), "This page limits the upload to 1 MB/s");
    assert.match(limit_text(diagnosis({ ...held, rate: 0.1e6 }), ENGLISH), /^This browser/);
});

test("the figures have names and units", () => {
    const shown = figures(diagnosis(), ENGLISH).map(([key, value]) => `${ENGLISH.text(key)}: ${plain(value)}`);
    assert.deepEqual(shown, [
        "Transport: WebSocket",
        "Connections: 4",
        "Speed: 2.5 MB/s",
        "Time until confirmed: 1.3 secs",
        "Round trip: 31 ms",
        "Packets repeated / out of order: 4 / 1,234",
        "On its way: 5 MB",
        "Of that, still in the browser: 1 MB",
        "Waiting in the server: 300 kB",
    ]);
});

test("figures that are not known are not shown", () => {
    const unknown = { transport: "", connections: 0, ack_delay: null, server: null };
    const keys = figures(diagnosis(unknown), ENGLISH).map(([key]) => key);
    assert.deepEqual(keys, ["figure.connections", "figure.rate", "figure.bytes_ahead", "figure.bytes_buffered"]);
    assert.ok(!figures(diagnosis({ server: { ...SERVER, rtt: null } }), ENGLISH).some(([key]) => key === "figure.rtt"));
});

test("transports have the names that their standards give them", () => {
    const named = (transport, protocol = "") => figures(diagnosis({ transport, protocol }), ENGLISH)[0][1];
    assert.deepEqual(
        [named("websocket"), named("http", "h2"), named("http", "http/1.1"), named("http"), named("direct")],
        ["WebSocket", "HTTP/2", "HTTP/1.1", "HTTP", "Straight to the storage"],
    );
});

test("a report has all figures, and neither the ticket nor the name of the file", () => {
    const upload = { ...upload_of({ upload_id: "c0ffee-ticket", filename: "secret plan.pdf", path: "board/secret plan.pdf", bytes_acked: 7 }), diagnosis };
    const text = report(upload, { time: new Date(0), browser: "Mozilla/5.0" });
    assert.doesNotMatch(text, /c0ffee|secret|board/);
    const lines = text.split("\n");
    assert.equal(lines[0], "Incoming!! upload");
    for (const line of ["time: 1970-01-01T00:00:00.000Z", "browser: Mozilla/5.0", "limit: line", "ack_delay: 1.25", "bytes_acked: 7", "error_name: -", "server.rtt: 0.031", "server.retransmits: 4"]) {
        assert.ok(lines.includes(line), line);
    }
});

test("the texts of details come with their module, for a language without them; a pack keeps its own", () => {
    const bare = new Translator(ALWAYS);
    assert.equal(bare.has("why.line"), false, "they are not in the element's module");
    complete(bare);
    for (const key of Object.keys(english)) assert.ok(bare.has(key), key);
    assert.equal(limit_text(diagnosis({ limit: "disk" }), bare), english["why.disk"]);
    const own = new Translator({ ...ALWAYS, "why.line": "Leitung" });
    complete(own);
    assert.deepEqual([own.text("why.line"), own.text("copy_report")], ["Leitung", english.copy_report]);
});
