import assert from "node:assert/strict";
import test from "node:test";
import { error_text, row_parts, state_text, total_parts } from "../../../../../incoming/js/element/texts/row_text.js";
import { ENGLISH, GB, queue_snapshot, upload_of } from "../../support/uploads.js";

const line = (changes, queued = false) => row_parts(upload_of(changes), queued, ENGLISH).join(" · ").replace(/[\u00a0\u202f]/g, " ");

for (const [what, changes, wanted, queued] of [
    ["waits for its turn", { state: "idle" }, "Waiting for its turn · 3 GB", true],
    ["runs", { bytes_acked: 1.26 * GB, rate: 45.1e6, eta: 39 }, "42% · 1.26 GB of 3 GB · 45.1 MB/s · 39 secs left"],
    ["begins", {}, "3 GB"],
    ["has lost its connection", { state: "reconnecting", bytes_acked: GB, next_try_in: 11.2 },
        "Connection lost, connecting again · Nothing is lost; the upload continues by itself · Next try in 12 secs · 33% · 1 GB of 3 GB"],
    ["waits for room at the server", { state: "waiting", error_name: "storage_full", error_code: 501, next_try_in: 60 },
        "Waiting: The server has no room at the moment · Nothing is lost; the upload continues by itself · Next try in 1 min · 3 GB"],
    ["is paused", { state: "paused", bytes_acked: GB }, "Paused · 33% · 1 GB of 3 GB"],
    ["is not taken", { state: "delayed", bytes_acked: 3 * GB }, "Arrived safely; the site has trouble taking it and is asked again · 3 GB"],
    ["is done", { state: "finished", bytes_acked: 3 * GB }, "Finished · 3 GB"],
    ["was cancelled", { state: "cancelled" }, "Cancelled"],
    ["was cancelled by somebody", { state: "cancelled", cancel_msg: "too late" }, "Cancelled: too late"],
    ["has failed", { state: "failed", error_name: "file_too_large", error_code: 401, bytes_acked: GB }, "Failed: The file is too large · 33% · 1 GB of 3 GB"],
    ["will be tried again", { state: "failed", bytes_acked: GB }, "Waiting for its turn · 33% · 1 GB of 3 GB", true],
]) {
    test(`the line of an upload that ${what}`, () => assert.equal(line(changes, queued), wanted));
}

test("an error without a text of its own has its number, and a refusal is in the app's words", () => {
    assert.equal(error_text(upload_of({ error_name: "internal_error", error_code: 1599 }), ENGLISH), "Something went wrong (error 1599)");
    assert.equal(error_text(upload_of({ error_name: "ticket_refused", error_msg: "Your plan is full" }), ENGLISH), "Your plan is full");
});

test("a state of a newer library has a text all the same", () => {
    assert.equal(state_text(upload_of({ state: "teleporting" }), ENGLISH), "Connecting");
});

test("the whole says how many files are done", () => {
    const all = queue_snapshot([upload_of({ state: "finished", bytes_acked: 3 * GB }), upload_of({ bytes_acked: 0, rate: 1e6 })]);
    assert.deepEqual(total_parts({ ...all, eta: 3000 }, ENGLISH).map((part) => part.replace(/\u00a0/g, " ")), [
        "1 of 2 files", "50%", "3 GB of 6 GB", "1 MB/s", "50 mins left",
    ]);
});
