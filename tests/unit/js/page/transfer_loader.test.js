// The module that sends files: when it is loaded, and what uploads do until it is there.
import assert from "node:assert/strict";
import test from "node:test";
import { PageContext } from "../../../../incoming/js/page/page_context.js";
import { INSIDE, load_transfer } from "../../../../incoming/js/page/transfer_module.js";
import * as transfer_module from "../../../../incoming/js/session/transfer.js";
import { Uploader } from "../../../../incoming/js/uploader/uploader.js";
import { FakeConnection, file_of } from "../support/connections.js";
import { FakeEnvironment, until } from "../support/environment.js";

const WITHIN = 10_000;
const REFUSED = "a network error";

/** A page whose module comes, or does not, when the test says so. */
class Bench {
    env = new FakeEnvironment();
    /** The attempts to load it, with the functions that end each. */
    loads = [];
    connections = [];
    page = new PageContext(this.env, { origin: "https://app.example", script: null }, (attempt) =>
        new Promise((come, fail) => void this.loads.push({ attempt, come, fail })),
    );
    loader = this.page.transfer_loader;

    uploader(ticket = "ticket-1", size = 1000, options = {}) {
        return new Uploader(this.page, ticket, file_of(size), options);
    }

    /** The latest attempt fails. */
    async fails(reason = REFUSED) {
        const load = this.loads.at(-1);
        load.fail(new TypeError(reason));
        await load_settled();
    }

    async comes(load = this.loads.at(-1), module = transfer_module) {
        load.come(module);
        await load_settled();
        const servers = this.loader.transfer?.servers;
        if (servers) servers.connect = (kind, ticket, file, listener) => {
            this.connections.push(new FakeConnection(kind, listener));
            return this.connections.at(-1);
        };
    }

    async connected(count = 1) {
        await until(() => this.connections.length === count && this.connections.at(-1).hello);
        return this.connections.at(-1);
    }

    /** Attempts fail until the next one is the `count`th. */
    async in_vain(count) {
        while (this.loads.length < count) {
            await this.fails();
            this.env.pass(60_000);
        }
    }
}

async function load_settled() {
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

test("a page loads it at once, once, and again at a hint that the network is back", async () => {
    const bench = new Bench();
    bench.page.begin();
    bench.page.begin();
    assert.deepEqual(bench.loads.map(({ attempt }) => attempt), [1]);
    await bench.fails();
    assert.equal(bench.env.timers.size, 0, "while no upload needs it nothing is tried by itself");
    bench.env.page.dispatchEvent(new Event("online"));
    assert.deepEqual(bench.loads.map(({ attempt }) => attempt), [1, 2]);
    await bench.comes();
    bench.env.page.dispatchEvent(new Event("online"));
    assert.equal(bench.loads.length, 2);
});

test("where there is no page, nothing is loaded before an upload starts", () => {
    const bench = new Bench();
    bench.env.page = null;
    bench.page.begin();
    bench.loader.revive(true);
    const uploader = bench.uploader();
    assert.deepEqual([bench.loads.length, bench.env.timers.size], [0, 0]);
    uploader.start();
    assert.equal(bench.loads.length, 1);
});

test("an upload that is started before it is there connects when it comes", async () => {
    const bench = new Bench();
    bench.page.begin();
    const uploader = bench.uploader().start();
    assert.deepEqual([uploader.state, uploader.next_try_in, uploader.can_pause, uploader.can_cancel], ["connecting", null, true, true]);
    assert.equal(bench.loads.length, 1, "the page's own attempt");
    await bench.comes();
    (await bench.connected()).welcome();
    assert.equal(uploader.state, "transferring");
    assert.equal(bench.env.timers.size > 0 && bench.loads.length, 1);
});

test("while it cannot be loaded, an upload waits as it does for a server that cannot be reached", async () => {
    const bench = new Bench();
    const seen = [];
    const uploader = bench.uploader();
    uploader.onprogress = ({ state, state_msg, error_name }) => seen.push([state, state_msg, error_name]);
    uploader.start();
    await bench.fails();
    assert.deepEqual(
        [uploader.state, uploader.state_msg, uploader.error_code, uploader.failed, uploader.connected],
        ["reconnecting", "lost connection, trying to connect again", null, false, false],
    );
    assert.equal(uploader.next_try_in, 0.15);
    bench.env.pass(150);
    assert.deepEqual([bench.loads.length, uploader.next_try_in], [2, null]);
    await bench.in_vain(6);
    assert.equal(uploader.error_code, null);
    await bench.fails();
    assert.deepEqual([uploader.state, uploader.error_name, uploader.failed], ["waiting", "never_reached", false]);
    assert.equal(uploader.error_msg, `a part of the upload library could not be loaded so far (${REFUSED})`);
    assert.ok(uploader.next_try_in > 0);
    await bench.in_vain(20);
    assert.ok(bench.env.time < 60_000 * 20);
    await bench.comes();
    (await bench.connected()).welcome();
    assert.deepEqual([uploader.state, uploader.error_code, uploader.next_try_in], ["transferring", null, null]);
    assert.deepEqual([...new Set(seen.map(([state]) => state))], ["connecting", "reconnecting", "waiting", "transferring"]);
});

test("where no attempt can succeed, uploads fail at once, and another start tries it once more", async () => {
    const bench = new Bench();
    const problem = { code: 1003, message: "another build", retry: false, retry_after: null };
    const refuse = async () => {
        bench.loads.at(-1).fail(problem);
        await load_settled();
    };
    bench.page.begin();
    await refuse();
    assert.deepEqual(bench.env.warnings, ["another build"], "also where no upload shows it");
    const uploaders = [bench.uploader("a").start(), bench.uploader("b").start()];
    assert.equal(bench.loads.length, 2);
    await refuse();
    for (const { failed, error_name, error_msg, next_try_in } of uploaders) {
        assert.deepEqual([failed, error_name, error_msg, next_try_in], [true, "bad_argument", "another build", null]);
    }
    assert.equal(bench.env.timers.size, 0);
    uploaders[0].start();
    await refuse();
    assert.deepEqual([uploaders[0].failed, bench.loads.length, bench.env.warnings.length], [true, 3, 1]);
    uploaders[0].start();
    await bench.comes();
    (await bench.connected()).welcome();
    assert.deepEqual([uploaders[0].state, uploaders[0].error_code], ["transferring", null]);
});

test("the user's wish ends the wait, for all uploads of the page", async () => {
    const bench = new Bench();
    const [one, other] = [bench.uploader("a").start(), bench.uploader("b").start()];
    await bench.fails();
    assert.ok(one.next_try_in > 0 && one.next_try_in === other.next_try_in, "one attempt for all");
    one.retry_now();
    assert.deepEqual([bench.loads.length, one.next_try_in, other.next_try_in], [2, null, null]);
    one.retry_now();
    assert.equal(bench.loads.length, 2, "one attempt at a time");
    await bench.comes();
    await bench.connected(2);
});

test("an attempt without an answer counts as failed after a while that grows, and may still succeed", async () => {
    const bench = new Bench();
    const uploader = bench.uploader().start();
    bench.env.pass(WITHIN - 1);
    assert.equal(uploader.state, "connecting");
    bench.env.pass(1);
    assert.equal(uploader.state, "reconnecting");
    bench.env.pass(150);
    assert.equal(bench.loads.length, 2);
    bench.env.pass(2 * WITHIN - 1);
    assert.equal(uploader.next_try_in, null);
    bench.env.pass(1);
    assert.ok(uploader.next_try_in > 0);
    await bench.comes(bench.loads[0]);
    (await bench.connected()).welcome();
    assert.equal(uploader.state, "transferring");
    await bench.comes(bench.loads[1]);
    assert.equal(bench.connections.length, 1);
});

test("the failure of an attempt that had counted as failed changes nothing", async () => {
    const bench = new Bench();
    const uploader = bench.uploader().start();
    bench.env.pass(WITHIN);
    bench.env.pass(150);
    bench.loads[0].fail(new Error("late"));
    await load_settled();
    assert.deepEqual([bench.loads.length, uploader.next_try_in], [2, null]);
});

test("an attempt of before the network changed is not waited for", async () => {
    const bench = new Bench();
    const uploader = bench.uploader().start();
    bench.env.document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(bench.loads.length, 1, "shown again, which says nothing of the network");
    bench.env.page.dispatchEvent(new Event("online"));
    assert.deepEqual([bench.loads.length, uploader.state], [2, "connecting"]);
    await bench.comes();
    await bench.connected();
});

test("a module of another version is not used", async () => {
    const bench = new Bench();
    const uploader = bench.uploader().start();
    await bench.comes(bench.loads[0], { ...transfer_module, BUILD: "another" });
    assert.deepEqual([uploader.state, bench.loader.transfer], ["reconnecting", null]);
    bench.env.pass(150);
    await bench.in_vain(6);
    await bench.comes(bench.loads[5], { ...transfer_module, BUILD: "another" });
    assert.match(uploader.error_msg, /it is of another version; load the page again/);
    bench.env.pass(60_000);
    await bench.comes();
    await bench.connected();
});

test("what is paused or cancelled before it is there is not waited for", async () => {
    for (const end of ["pause", "cancel", "discard"]) {
        const bench = new Bench();
        const uploader = bench.uploader().start();
        await bench.fails();
        uploader[end](end === "pause" ? "pause" : "enough");
        assert.deepEqual([uploader.state, uploader.next_try_in], [end === "pause" ? "paused" : "cancelled", null]);
        assert.equal(bench.env.timers.size, 0, end);
        assert.equal(bench.loads.length, 1);
    }
});

test("a cancellation needs no module: it is delivered, and what was noted of the upload is forgotten", () => {
    const bench = new Bench();
    const uploader = bench.uploader().start();
    uploader.cancel("enough");
    assert.deepEqual([uploader.state, uploader.cancel_msg], ["cancelled", "enough"]);
    assert.deepEqual(JSON.parse(bench.env.request.body), { type: "cancel", reason: "enough" });
    assert.ok(bench.env.request.url.endsWith("/upload/ticket-1"));
});

test("a paused upload resumes, whether it has come meanwhile or not", async () => {
    const bench = new Bench();
    const uploader = bench.uploader().start();
    uploader.pause("pause");
    uploader.pause("unpause");
    assert.deepEqual([uploader.state, bench.loads.length], ["connecting", 1]);
    uploader.pause("pause");
    await bench.comes();
    assert.deepEqual([uploader.state, bench.connections.length], ["paused", 0]);
    uploader.start();
    (await bench.connected()).welcome();
    assert.equal(uploader.state, "transferring");
    uploader.pause("pause");
    assert.deepEqual(bench.connections[0].calls, ["pause"]);
});

test("the browser asks before a page is left whose upload waits for it", () => {
    const bench = new Bench();
    const uploader = bench.uploader();
    uploader.warn_on_leave = true;
    uploader.start();
    const event = new Event("beforeunload", { cancelable: true });
    bench.env.page.dispatchEvent(event);
    assert.ok(event.defaultPrevented);
});

test("of two uploaders with one ticket the second has it, also before it is there", async () => {
    const bench = new Bench();
    const first = bench.uploader().start();
    const second = bench.uploader().start();
    assert.deepEqual([first.error_name, second.state], ["taken_over", "connecting"]);
    await bench.comes();
    await bench.connected();
    assert.equal(first.error_name, "taken_over");
});

test("before it is there the diagnosis has all its figures", async () => {
    const bench = new Bench();
    const uploader = bench.uploader();
    const before = uploader.diagnosis();
    uploader.start();
    assert.equal(uploader.diagnosis().limit, null);
    await bench.fails();
    assert.equal(uploader.diagnosis().limit, "line");
    bench.env.pass(150);
    await bench.comes();
    (await bench.connected()).welcome();
    assert.deepEqual(Object.keys(before).sort(), Object.keys(uploader.diagnosis()).sort());
});

test("a file that looks changed when it comes is the one that was chosen no more", async () => {
    const bench = new Bench();
    let lastModified = 5;
    const file = file_of(1000);
    Object.defineProperty(file, "lastModified", { get: () => lastModified });
    const uploader = new Uploader(bench.page, "ticket-1", file).start();
    lastModified = 6;
    await bench.comes();
    await until(() => uploader.failed);
    assert.equal(uploader.error_name, "file_changed_while_reading");
});

test("in the sources each further attempt has a URL of its own, from which the module comes", async () => {
    assert.equal(INSIDE, null);
    const [first, again, second] = [await load_transfer(1), await load_transfer(1), await load_transfer(2)];
    assert.equal(first, again);
    assert.notEqual(first, second);
    assert.deepEqual(Object.keys(second), Object.keys(first));
});
