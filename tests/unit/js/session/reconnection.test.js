import assert from "node:assert/strict";
import test from "node:test";
import { Reconnection } from "../../../../incoming/js/session/reconnection.js";
import { FakeEnvironment, until } from "../support/environment.js";

/** A file that is in order until `problem` says otherwise; each look at it lasts until `seen` is called. */
function reconnection() {
    const env = new FakeEnvironment();
    env.chance = 1;
    const file = { problem: null, looks: 0, seen: () => {} };
    const confirm = () => new Promise((resolve) => {
        file.looks++;
        file.seen = () => resolve(file.problem);
    });
    const told = [];
    const owner = { connect: () => told.push("connect"), failed: ({ code }) => told.push(code) };
    return { env, file, told, reconnection: new Reconnection(env, { confirm }, owner) };
}

/** How long it waits until it looks at the file, which is then found in order. */
async function wait_of({ env, file, told, reconnection }, wanted) {
    const [before, looks] = [env.time, file.looks];
    reconnection.later(wanted);
    while (file.looks === looks) env.pass(10);
    const connected = told.length + 1;
    file.seen();
    await until(() => told.length === connected);
    return env.time - before;
}

test("connects when the file has been looked at, each time", async () => {
    const { file, told, reconnection: it } = reconnection();
    for (let attempt = 1; attempt <= 2; attempt++) {
        it.now();
        assert.deepEqual([file.looks, told.length], [attempt, attempt - 1]);
        file.seen();
        await until(() => told.length === attempt);
    }
    assert.deepEqual(told, ["connect", "connect"]);
});

test("a file that is not in order is not connected for", async () => {
    const { file, told, reconnection: it } = reconnection();
    file.problem = { code: 1002 };
    it.now();
    file.seen();
    await until(() => told.length > 0);
    assert.deepEqual(told, [1002]);
});

test("waits grow, and are short again after progress", async () => {
    const setting = reconnection();
    const waits = [];
    for (let loss = 0; loss < 4; loss++) waits.push(await wait_of(setting));
    setting.reconnection.reset();
    waits.push(await wait_of(setting));
    assert.deepEqual(waits, [300, 600, 1200, 2400, 300]);
});

test("it never comes before the server has asked it to", async () => {
    const setting = reconnection();
    setting.env.chance = 0;
    assert.equal(await wait_of(setting, 10), 10_000);
});

test("what is given up comes to nothing: a wait, and an attempt whose file is still being read", async () => {
    const { env, file, told, reconnection: it } = reconnection();
    it.later();
    it.stop();
    env.pass(3_600_000);
    assert.equal(file.looks, 0);
    it.now();
    it.stop();
    file.seen();
    await until(() => true);
    assert.deepEqual(told, []);
});

test("there is one attempt at a time: the last one begun", async () => {
    const { env, file, told, reconnection: it } = reconnection();
    it.now();
    const { seen: first_seen } = file;
    it.later();
    it.now();
    first_seen();
    file.seen();
    await until(() => told.length > 0);
    env.pass(3_600_000);
    assert.deepEqual([told, file.looks], [["connect"], 2]);
});

test("a number tells whether what was begun has been given up since", () => {
    for (const give_up of ["now", "later", "stop"]) {
        const { reconnection: it } = reconnection();
        const { attempt } = it;
        it.reset();
        assert.equal(it.attempt, attempt);
        it[give_up]();
        assert.notEqual(it.attempt, attempt);
    }
});
