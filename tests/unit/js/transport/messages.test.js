import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import * as messages from "../../../../incoming/js/transport/messages.js";

const vectors = JSON.parse(readFileSync(new URL("../../../vectors/messages.json", import.meta.url), "utf8"));
const hex = (buffer) => Buffer.from(buffer).toString("hex");

const ENCODERS = {
    hello: (fields) => messages.hello(fields),
    pause: ({ epoch }) => messages.pause(epoch),
    cancel: ({ reason }) => messages.cancel(reason),
    ping: ({ limit }) => messages.ping(limit),
    sign: ({ parts }) => messages.about_parts("sign", parts),
    sent: ({ parts }) => messages.about_parts("sent", parts),
    pong: () => messages.PONG,
};

for (const { text, fields, why } of vectors.from_client) {
    test(`says ${fields.type}: ${why}`, () => {
        const { type, ...rest } = fields;
        assert.deepEqual(JSON.parse(ENCODERS[type](rest)), JSON.parse(text));
    });
}

for (const { text, fields, why } of vectors.from_server) {
    test(`understands ${fields.type}: ${why}`, () => assert.deepEqual(messages.parse(text), fields));
}

for (const { offset, header } of vectors.chunk_headers) {
    test(`puts a chunk at ${offset}`, () => assert.equal(hex(messages.chunk_header(offset)), header));
}

for (const { text, why } of vectors.not_from_server) {
    test(`overhears ${why}`, () => assert.equal(messages.parse(text), null));
}

test("binary messages from a server mean nothing", () => assert.equal(messages.parse(new ArrayBuffer(4)), null));

test("what the server would refuse as too long is cut off", () => {
    assert.equal(JSON.parse(messages.cancel("x".repeat(5000))).reason.length, 1024);
    const hello = { session: "12345678", name: "n".repeat(5000), size: 1 };
    assert.equal(JSON.parse(messages.hello(hello)).name.length, 1024);
});

test("a session's name is one the server takes, and another each time", () => {
    const names = Array.from({ length: 50 }, () => messages.session_name(Math.random));
    for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{8,64}$/);
    assert.equal(new Set(names).size, 50);
});

test("states are either receiving, arrived or over", () => {
    const kinds = Object.fromEntries(
        vectors.states.map((state) => [state, [messages.is_receiving(state), messages.has_arrived(state)]]),
    );
    assert.deepEqual(kinds, {
        new: [true, false],
        uploading: [true, false],
        arrived: [false, true],
        handing_over: [false, true],
        waiting: [false, true],
        finished: [false, true],
        cancelled: [false, false],
        failed: [false, false],
    });
});
