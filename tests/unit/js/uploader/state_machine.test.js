import assert from "node:assert/strict";
import test from "node:test";
import { next_phase } from "../../../../incoming/js/uploader/state_machine.js";

const PHASES = ["idle", "requesting", "connecting", "transferring", "waiting", "handing_over", "paused", "cancelling", "finished", "cancelled", "failed"];
const EVENTS = ["start", "request", "pause", "cancel", "drop", "connect", "arrive", "lose", "finish", "cancelled", "fail"];

test("what is over stays over; only an error can be tried again, or be cancelled", () => {
    for (const event of EVENTS) {
        assert.equal(next_phase("finished", event), undefined);
        assert.equal(next_phase("cancelled", event), undefined);
    }
    assert.deepEqual(EVENTS.filter((event) => next_phase("failed", event)), ["start", "request", "drop"]);
});

test("only the user ends a pause", () => {
    assert.deepEqual(EVENTS.filter((event) => next_phase("paused", event)), ["start", "request", "drop"]);
});

test("an upload can be paused from its start to its last byte", () => {
    assert.deepEqual(PHASES.filter((phase) => next_phase(phase, "pause")), ["requesting", "connecting", "transferring", "waiting"]);
});

test("nothing of the user's stops a handover", () => {
    for (const event of ["start", "pause", "cancel", "drop"]) assert.equal(next_phase("handing_over", event), undefined);
});

test("every phase can be reached, and leads somewhere known", () => {
    const reached = new Set(["idle"]);
    for (const phase of reached) {
        for (const event of EVENTS) {
            const next = next_phase(phase, event);
            if (next) reached.add(next);
        }
    }
    assert.deepEqual([...reached].sort(), [...PHASES].sort());
});
