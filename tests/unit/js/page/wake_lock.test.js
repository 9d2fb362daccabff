import assert from "node:assert/strict";
import test from "node:test";
import { WakeLock } from "../../../../incoming/js/page/wake_lock.js";
import { FakeEnvironment, until } from "../support/environment.js";

function machine() {
    const env = new FakeEnvironment();
    const log = [];
    env.wake_lock = {
        request: async (type) => {
            log.push(type);
            return { release: async () => void log.push("released") };
        },
    };
    return { env, log, lock: new WakeLock(env) };
}

test("one lock at a time, given back when it is not needed", async () => {
    const { log, lock } = machine();
    lock.hold(true);
    lock.hold(true);
    lock.hold(false);
    await until(() => log.length === 2);
    assert.deepEqual(log, ["screen", "released"]);
});

test("browsers take it back when the page is hidden: it is asked for again, if it is still wanted", async () => {
    const { env, log, lock } = machine();
    lock.hold(true);
    env.document.visibilityState = "hidden";
    env.document.dispatchEvent(new Event("visibilitychange"));
    assert.deepEqual(log, ["screen"]);
    env.document.visibilityState = "visible";
    env.document.dispatchEvent(new Event("visibilitychange"));
    await until(() => log.filter((entry) => entry === "screen").length === 2);
    lock.hold(false);
    env.document.dispatchEvent(new Event("visibilitychange"));
    await until(() => log.filter((entry) => entry === "released").length === 2);
    assert.equal(log.filter((entry) => entry === "screen").length, 2);
});

test("a lock that is refused or unknown to the browser hurts nobody", async () => {
    const { env, lock } = machine();
    env.wake_lock.request = () => Promise.reject(new DOMException("battery", "NotAllowedError"));
    lock.hold(true);
    lock.hold(false);
    const none = new WakeLock({ ...new FakeEnvironment(), wake_lock: null, document: null });
    none.hold(true);
    none.hold(false);
    await until(() => true);
});
