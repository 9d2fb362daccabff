import assert from "node:assert/strict";
import test from "node:test";
import { ConnectivityEvents } from "../../../../incoming/js/page/connectivity_events.js";
import { FakeEnvironment } from "../support/environment.js";

function events(env = new FakeEnvironment()) {
    const heard = [];
    return { env, heard, events: new ConnectivityEvents(env, (doubtful) => heard.push(doubtful)) };
}

test("the network is back, the page is back, the page is seen again", () => {
    const { env, heard } = events();
    env.page.dispatchEvent(new Event("online"));
    env.page.dispatchEvent(new Event("pageshow"));
    env.document.dispatchEvent(new Event("visibilitychange"));
    env.document.visibilityState = "hidden";
    env.document.dispatchEvent(new Event("visibilitychange"));
    assert.deepEqual(heard, [true, false, false], "only a change of the network makes connections doubtful");
});

test("a machine that slept is noticed when it wakes", () => {
    const { env, heard, events: all } = events();
    all.watch_sleep(true);
    env.pass(60_000);
    assert.deepEqual(heard, []);
    env.epoch += 3_600_000;
    env.pass(5_000);
    env.pass(60_000);
    assert.deepEqual(heard, [true]);
});

test("a clock that is set back is no sleep", () => {
    const { env, heard, events: all } = events();
    all.watch_sleep(true);
    env.epoch -= 3_600_000;
    env.pass(60_000);
    assert.deepEqual(heard, []);
});

test("nothing ticks when nobody cares", () => {
    const { env, events: all } = events();
    all.watch_sleep(true);
    all.watch_sleep(true);
    assert.equal(env.timers.size, 1);
    all.watch_sleep(false);
    assert.equal(env.timers.size, 0);
});

test("outside a page there is nothing to hear", () => {
    const { heard } = events(Object.assign(new FakeEnvironment(), { page: null, document: null }));
    assert.deepEqual(heard, []);
});
