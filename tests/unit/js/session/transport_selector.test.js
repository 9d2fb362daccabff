import assert from "node:assert/strict";
import test from "node:test";
import { TransportSelector } from "../../../../incoming/js/session/transport_selector.js";

function memory(changes = {}) {
    return {
        wanted: "auto",
        websocket_works: false,
        websocket_fails: false,
        blobs_fail: false,
        websocket_failed() {
            this.websocket_fails = true;
        },
        websocket_worked() {
            this.websocket_fails = false;
        },
        ...changes,
    };
}

function selector(changes) {
    return new TransportSelector(memory(changes));
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
    chosen.acknowledged("websocket");
    chosen.swallowed();
    assert.deepEqual([chosen.kind, chosen.fallen_back], ["http", true]);
});

test("HTTP requests that fail are not held against WebSockets", () => {
    const chosen = selector();
    for (let i = 0; i < 5; i++) chosen.cut("http", 10);
    assert.equal(chosen.kind, "websocket");
});

test("a WebSocket over which a chunk arrives while on HTTP is preferred from then on; a welcome is not enough", () => {
    const store = memory();
    const chosen = new TransportSelector(store);
    chosen.failed("websocket");
    chosen.welcomed("http");
    assert.ok(!chosen.failed("websocket"), "a try on the side changes nothing when it fails");
    assert.equal(chosen.kind, "http");
    chosen.welcomed("websocket");
    chosen.acknowledged("http");
    assert.deepEqual([chosen.kind, chosen.fallen_back], ["http", true]);
    chosen.acknowledged("websocket");
    assert.deepEqual([chosen.kind, chosen.fallen_back, store.websocket_works], ["websocket", false, true]);
});

test("the next upload begins with HTTP when that has worked where a WebSocket had not, and goes back when one works", () => {
    const store = memory();
    const next = () => {
        const chosen = new TransportSelector(store);
        chosen.begin();
        return chosen;
    };
    const first = next();
    first.failed("websocket");
    assert.equal(next().kind, "websocket", "nobody knows yet whether it is the network");
    first.welcomed("http");
    const second = next();
    assert.deepEqual([second.kind, second.fallen_back], ["http", true]);
    second.acknowledged("websocket");
    assert.equal(next().kind, "websocket");
});

test("where WebSockets have worked a server that restarts is not held against them", () => {
    const store = memory({ websocket_works: true });
    const chosen = new TransportSelector(store);
    for (let i = 0; i < 3; i++) chosen.failed("websocket");
    chosen.welcomed("http");
    assert.ok(!store.websocket_fails);
});

test("a doubtful WebSocket gets HTTP beside it, once, and only where the page has not chosen", () => {
    const chosen = selector();
    assert.deepEqual([chosen.doubtful(), chosen.kind, chosen.doubtful()], [true, "http", false]);
    assert.ok(!selector({ wanted: "websocket" }).doubtful());
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
