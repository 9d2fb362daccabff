// What an upload is slow by: each of the five in turn, and what the server is told of it.
import assert from "node:assert/strict";
import test from "node:test";
import { limit_of } from "../../../../incoming/js/uploader/diagnosis.js";
import { PATH, Stage } from "../support/connections.js";
import { until } from "../support/environment.js";

const MB = 1_000_000;

/** Chunks that are acknowledged `delay` milliseconds after they were sent, for a while. */
function transfer(stage, connection, seconds, delay = 500) {
    for (let passed = 0; passed < seconds * 1000; passed += delay) {
        stage.env.pass(delay);
        connection.ack(connection.chunks.splice(0, 1));
    }
}

async function started(welcome) {
    const stage = new Stage();
    return { stage, ...(await stage.transferring(1000 * MB, { connections: 1, ...welcome })) };
}

test("at first nothing is known", async () => {
    const { uploader } = await started();
    const { limit, state, transport, connections, bytes_ahead, ack_delay, server } = uploader.diagnosis();
    assert.deepEqual([limit, ack_delay, server], [null, null, null]);
    assert.deepEqual([state, transport, connections, bytes_ahead], ["transferring", "websocket", 1, uploader.bytes_ahead]);
    assert.ok(Object.isFrozen(uploader.diagnosis()));
});

test("the line, when bytes are on their way and nothing else is slow", async () => {
    const { stage, uploader, connection } = await started();
    transfer(stage, connection, 5);
    connection.path();
    connection.buffered = 1234;
    const { limit, ack_delay, rate, bytes_buffered, lag, reading, server } = uploader.diagnosis();
    assert.deepEqual([limit, bytes_buffered, lag, reading], ["line", 1234, 0, 0]);
    assert.deepEqual(server, PATH);
    assert.ok(ack_delay >= 0.5 && ack_delay < 5);
    assert.equal(rate, uploader.rate);
});

test("the browser, when its timers are late, but not in a hidden page", async () => {
    for (const [visibilityState, limit] of [["visible", "browser"], ["hidden", "line"]]) {
        const { stage, uploader, connection } = await started();
        stage.env.document = Object.assign(new EventTarget(), { visibilityState });
        const { after } = stage.env;
        stage.env.after = (milliseconds, action) => after.call(stage.env, milliseconds || 200, action);
        transfer(stage, connection, 10);
        assert.equal(uploader.diagnosis().limit, limit);
    }
});

test("the browser, when it is still reading the file while the line is idle", async () => {
    const { stage, uploader, connection } = await started();
    connection.reads = true;
    transfer(stage, connection, 10);
    assert.equal(uploader.diagnosis().limit, "browser");
    assert.ok(uploader.diagnosis().reading > 0.9);
});

test("the browser, when the page itself holds the rate, and the server when that does", async () => {
    for (const [own, theirs, limit] of [[MB, 0, "browser"], [0, MB, "server"], [2 * MB, MB, "server"], [MB, 2 * MB, "browser"]]) {
        const { stage, uploader, connection } = await started({ max_rate: theirs });
        uploader.max_rate = own;
        transfer(stage, connection, 10, 100);
        await until(() => uploader.diagnosis().limit === limit || stage.env.pass(100));
        assert.equal(uploader.diagnosis().max_rate, own);
    }
});

test("the server and its disk, when it says so, for ten seconds", async () => {
    for (const limit of ["server", "disk"]) {
        const { stage, uploader, connection } = await started();
        transfer(stage, connection, 5);
        connection.path({ limit });
        assert.equal(uploader.diagnosis().limit, limit);
        stage.env.pass(10_000);
        assert.deepEqual([uploader.diagnosis().limit, uploader.diagnosis().server], ["line", null]);
    }
});

test("a disk that has not stored anything yet", async () => {
    const { uploader, connection } = await started();
    connection.path({ limit: "disk" });
    assert.equal(uploader.diagnosis().limit, "disk");
});

test("what is not moving waits for the party that its state names", () => {
    const waits = {
        requesting_ticket: "app",
        reconnecting: "line",
        handing_over: "app",
        arrived: "line",
        delayed: "app",
        processing: "app",
        idle: null,
        connecting: null,
        paused: null,
        cancelling: null,
        finished: null,
        cancelled: null,
        failed: null,
    };
    for (const [state, limit] of Object.entries(waits)) assert.equal(limit_of(state, null, "disk"), limit, state);
    const errors = {
        storage_full: "disk",
        storage_failed: "disk",
        too_busy: "server",
        server_shutdown: "server",
        server_unavailable: "server",
        ticket_unavailable: "app",
        never_reached: "line",
    };
    for (const [name, limit] of Object.entries(errors)) assert.equal(limit_of("waiting", name, null), limit, name);
});

test("the server learns the limit after two seconds, when it changes, and every ten seconds", async () => {
    const { stage, connection } = await started();
    transfer(stage, connection, 1);
    assert.deepEqual(connection.reports, [], "uploads that take no time say nothing");
    transfer(stage, connection, 3);
    assert.deepEqual(connection.reports, ["line"]);
    connection.path({ limit: "disk" });
    transfer(stage, connection, 3);
    assert.deepEqual(connection.reports, ["line", "disk"]);
    for (let i = 0; i < 10; i++) {
        connection.path({ limit: "disk" });
        transfer(stage, connection, 2);
    }
    assert.deepEqual(connection.reports, ["line", "disk", "disk", "disk"]);
});

test("requests over HTTP/2 and HTTP/3 share one connection; WebSockets have their own", async () => {
    for (const [kind, protocol, multiplexed] of [
        ["http", "h2", true],
        ["http", "h3", true],
        ["http", "http/1.1", false],
        ["http", "", false],
        ["websocket", "", false],
    ]) {
        const { uploader, connection } = await started();
        Object.assign(connection, { kind, protocol });
        connection.ack();
        assert.equal(uploader.diagnosis().multiplexed, multiplexed, `${kind} ${protocol}`);
    }
});
