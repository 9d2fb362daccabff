import assert from "node:assert/strict";
import test from "node:test";
import { PageContext } from "../../../../incoming/js/page/page_context.js";
import { FakeEnvironment } from "../support/environment.js";

const URL = "https://app.example/incoming/0.1/frontend/upload/t1";
const PLACE = { origin: "https://app.example", script: null };

function page(env = new FakeEnvironment()) {
    return { env, outbox: new PageContext(env, PLACE).outbox };
}

test("delivers a cancellation by a request that needs no preflight", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "no more");
    assert.deepEqual([env.request.method, env.request.url], ["POST", URL]);
    assert.deepEqual(Object.keys(env.request.headers), ["Accept"]);
    assert.deepEqual(JSON.parse(env.request.body), { type: "cancel", reason: "no more" });
    env.request.answer(200, { type: "state", state: "cancelled" });
    assert.equal(env.storage.length, 0);
    assert.equal(env.timers.size, 0);
});

test("an answer that will not change ends it too: unknown, finished, too late", () => {
    for (const [status, code] of [[404, 200], [409, 301], [410, 303], [412, 300]]) {
        const { env, outbox } = page();
        outbox.cancel("t1", "");
        env.request.answer(status, { code, message: "", retry: false });
        assert.deepEqual([env.storage.length, env.timers.size], [0, 0]);
    }
});

test("an answer that is not the upload server's does not count: a captive portal says 200 to everything", () => {
    for (const [status, json] of [[200, null], [200, { ok: true }], [404, null], [403, { error: "log in" }], [302, null]]) {
        const { env, outbox } = page();
        outbox.cancel("t1", "no more");
        env.request.answer(status, json);
        env.pass(30_000);
        assert.deepEqual([env.requests.length, env.storage.length], [2, 1], `${status} ${JSON.stringify(json)}`);
    }
});

test("a malformed entry in the site's storage is skipped, the others are delivered", () => {
    const env = new FakeEnvironment();
    const letter = { frontend: "https://app.example/incoming/0.1/frontend/", reason: "", since: env.wall() };
    for (const value of [{}, [], { ...letter, reason: null }, { ...letter, frontend: 5 }, { ...letter, since: "today" }]) {
        env.storage.setItem(`incoming.cancel.bad${env.storage.length}`, JSON.stringify(value));
    }
    env.storage.setItem("incoming.cancel.t1", JSON.stringify(letter));
    page(env).outbox.resume();
    assert.deepEqual(env.requests.map(({ url }) => url), [URL]);
});

test("without an answer it is tried again and again, ever less often", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "");
    for (const status of [0, 502, 503, 429]) {
        env.request.answer(status);
        env.pass(30_000);
    }
    assert.equal(env.requests.length, 5);
    assert.equal(env.storage.length, 1);
    env.request.answer(200, { type: "state", state: "cancelled" });
    env.pass(60_000);
    assert.equal(env.requests.length, 5);
});

test("the network being back is reason to try at once", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "");
    env.request.answer(0);
    outbox.revive();
    assert.equal(env.requests.length, 2);
    outbox.revive();
    assert.equal(env.requests.length, 2, "but one attempt at a time");
});

test("a server that is away does not hold up the others", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "");
    outbox.cancel("t2", "");
    env.request.answer(0);
    env.pass(30_000);
    assert.ok(env.request.url.endsWith("/t2"));
});

test("what was not delivered is delivered after the page was loaded again", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "no more");
    env.request.answer(0);
    const later = page(env);
    later.outbox.resume();
    assert.deepEqual([env.request.url, JSON.parse(env.request.body).reason], [URL, "no more"]);
    env.request.answer(200, { type: "state", state: "cancelled" });
    assert.equal(env.storage.length, 0);
});

test("after two weeks nobody wants to know any more", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "");
    env.time += 15 * 24 * 3_600_000;
    page(env).outbox.resume();
    assert.deepEqual([env.requests.length, env.storage.length], [1, 0]);
});

test("when the page closes the browser takes the message along", () => {
    const { env, outbox } = page();
    outbox.cancel("t1", "no more");
    env.page.dispatchEvent(new Event("pagehide"));
    assert.deepEqual(env.beacons, [[URL, JSON.stringify({ type: "cancel", reason: "no more" })]]);
    env.beacon = null;
    env.page.dispatchEvent(new Event("pagehide"));
});
