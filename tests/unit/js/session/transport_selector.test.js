import assert from "node:assert/strict";
import test from "node:test";
import { TransportSelector } from "../../../../incoming/js/session/transport_selector.js";

function selector(store = {}) {
    return new TransportSelector({ wanted: "auto", websocket_works: false, blobs_fail: false, ...store });
}

test("begins with a WebSocket", () => assert.equal(selector().kind, "websocket"));

test("the first WebSocket that cannot be had: HTTP at once", () => {
    const chosen = selector();
    assert.ok(chosen.failed("websocket"));
    assert.deepEqual([chosen.kind, chosen.fallen_back], ["http", true]);
});

test("where WebSockets have worked, it takes three failures: the server may just be restarting", () => {
    const chosen = selector({ websocket_works: true });
    assert.deepEqual([chosen.failed("websocket"), chosen.failed("websocket"), chosen.kind], [false, false, "websocket"]);
    assert.ok(chosen.failed("websocket"));
    assert.equal(chosen.kind, "http");
});

test("when HTTP fails as well it is the network: WebSockets get their chance again", () => {
    const chosen = selector();
    chosen.failed("websocket");
    for (let i = 0; i < 3; i++) assert.ok(!chosen.failed("http"), "each after its back-off");
    assert.equal(chosen.kind, "websocket");
});

test("a WebSocket that is cut soon, three times in a row, is of no use", () => {
    const chosen = selector();
    for (let i = 0; i < 3; i++) {
        assert.equal(chosen.kind, "websocket");
        chosen.welcomed("websocket");
        chosen.cut("websocket", 1000);
    }
    assert.equal(chosen.kind, "http");
});

test("one that lived for a while breaks the row", () => {
    const chosen = selector();
    for (const lived of [1000, 1000, 60_000, 1000, 1000]) chosen.cut("websocket", lived);
    assert.equal(chosen.kind, "websocket");
});

test("a WebSocket that swallows chunks is of no use, however well it stands", () => {
    const chosen = selector();
    chosen.welcomed("websocket");
    chosen.heard("websocket");
    chosen.swallowed();
    assert.deepEqual([chosen.kind, chosen.fallen_back], ["http", true]);
});

test("HTTP requests that fail are not held against WebSockets", () => {
    const chosen = selector();
    for (let i = 0; i < 5; i++) chosen.cut("http", 10);
    assert.equal(chosen.kind, "websocket");
});

test("a WebSocket over which a chunk arrives while on HTTP is preferred from then on; a welcome is not enough", () => {
    const store = { wanted: "auto", websocket_works: false };
    const chosen = new TransportSelector(store);
    chosen.failed("websocket");
    chosen.welcomed("http");
    assert.ok(!chosen.failed("websocket"), "a try on the side changes nothing when it fails");
    assert.equal(chosen.kind, "http");
    chosen.welcomed("websocket");
    chosen.heard("http");
    assert.deepEqual([chosen.kind, chosen.fallen_back], ["http", true]);
    chosen.heard("websocket");
    assert.deepEqual([chosen.kind, chosen.fallen_back, store.websocket_works], ["websocket", false, true]);
});

test("the next upload tries the WebSocket again", () => {
    const store = { wanted: "auto", websocket_works: false };
    new TransportSelector(store).failed("websocket");
    assert.equal(new TransportSelector(store).kind, "websocket");
});

for (const wanted of ["websocket", "http"]) {
    test(`'${wanted}' is obeyed whatever happens`, () => {
        const chosen = selector({ wanted });
        for (let i = 0; i < 10; i++) {
            assert.ok(!chosen.failed(wanted));
            chosen.cut(wanted, 1);
            chosen.swallowed();
            assert.deepEqual([chosen.kind, chosen.fallen_back], [wanted, false]);
        }
    });
}
