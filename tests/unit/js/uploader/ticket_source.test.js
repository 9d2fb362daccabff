import assert from "node:assert/strict";
import test from "node:test";
import { Uploader } from "../../../../incoming/js/uploader/uploader.js";
import { Stage, file_of } from "../support/connections.js";
import { until } from "../support/environment.js";

const SIZE = 1_000_000;

/** An uploader whose tickets a script gives: each step is called with what the page's function gets. */
function asking(stage, steps, options = {}) {
    const asked = [];
    const get_ticket = (file, context) => {
        asked.push({ file, ...context });
        return steps[Math.min(asked.length, steps.length) - 1](file, context);
    };
    const uploader = new Uploader(stage.page, get_ticket, file_of(SIZE), options);
    return { uploader, asked };
}

const fails = (message, more = {}) => () => Promise.reject(Object.assign(new Error(message), more));
const text = (body, status, type = "text/plain", headers = {}) => () =>
    new Response(body, { status, headers: { "Content-Type": type, ...headers } });

test("the ticket is asked for at the start, with the file, its path and a signal, and then used", async () => {
    const stage = new Stage();
    const { uploader, asked } = asking(stage, [async () => "t-7"], { path: "films/2026/film.mp4" });
    assert.deepEqual([uploader.upload_id, uploader.state, asked.length], ["", "idle", 0]);
    uploader.start();
    assert.deepEqual([uploader.state, uploader.state_msg], ["requesting_ticket", "asking the application for a ticket"]);
    assert.ok(uploader.can_pause && uploader.can_cancel);
    const connection = await stage.connected();
    assert.deepEqual([uploader.upload_id, uploader.snapshot().upload_id, uploader.state], ["t-7", "t-7", "connecting"]);
    assert.deepEqual([asked[0].file.name, asked[0].path], ["film.mp4", "films/2026/film.mp4"]);
    assert.ok(asked[0].signal instanceof AbortSignal);
    connection.welcome();
    stage.ack_all();
    connection.state("finished");
    assert.deepEqual([uploader.state, asked.length], ["finished", 1]);
});

for (const [what, given] of [
    ["text", text("t-1\n", 200)],
    ["text that a framework calls HTML", text("t-1", 200, "text/html; charset=UTF-8")],
    ["a JSON text", text('"t-1"', 200, "application/json")],
    ["a JSON object", text('{"ticket": "t-1"}', 200, "application/json")],
]) {
    test(`a Response with ${what} is a ticket`, async () => {
        const stage = new Stage();
        const { uploader } = asking(stage, [given]);
        uploader.start();
        await stage.connected();
        assert.equal(uploader.upload_id, "t-1");
    });
}

test("while the app is away it is asked again after growing waits, and the page can count them down", async () => {
    const stage = new Stage();
    const away = [fails("network down"), text("<h1>Bad gateway</h1>", 502, "text/html"), text("\n<h1>who?</h1>", 403, "text/html")];
    const { uploader, asked } = asking(stage, [...away, async () => "t-1"]);
    const seen = [];
    uploader.subscribe(({ state, next_try_in }) => seen.push([state, next_try_in]));
    uploader.start();
    for (const [number, found] of [[1, "network down"], [2, "HTTP 502"], [3, "HTTP 403"]]) {
        await until(() => uploader.state === "waiting");
        assert.equal(asked.length, number);
        assert.deepEqual([uploader.error_code, uploader.error_name, uploader.failed], [1006, "ticket_unavailable", false]);
        assert.ok(uploader.error_msg.includes(found), uploader.error_msg);
        const wait = uploader.next_try_in;
        assert.ok(Math.abs(wait - 0.15 * 2 ** (number - 1)) < 1e-9, `waits ${wait}`);
        stage.env.pass(wait * 500);
        assert.ok(Math.abs(uploader.next_try_in - wait / 2) < 1e-9);
        stage.env.pass(wait * 500);
        assert.deepEqual([uploader.state, uploader.next_try_in, uploader.error_code], ["requesting_ticket", null, null]);
    }
    await stage.connected();
    assert.equal(uploader.upload_id, "t-1");
    assert.deepEqual(seen.filter(([, wait]) => wait).map(([state]) => state), ["waiting", "waiting", "waiting"]);
});

test("Retry-After of the app is kept to, and retry_now() overrides it", async () => {
    const stage = new Stage();
    const { uploader, asked } = asking(stage, [text("busy", 503, "text/plain", { "Retry-After": "60" })]);
    uploader.start();
    await until(() => uploader.state === "waiting");
    assert.ok(uploader.next_try_in >= 60);
    uploader.retry_now();
    assert.equal(uploader.state, "requesting_ticket");
    uploader.retry_now();
    await until(() => uploader.state === "waiting");
    assert.equal(asked.length, 2);
});

for (const [what, refused, message] of [
    ["an error that says so", fails("your plan is full", { retry: false }), "your plan is full"],
    ["403 and its own words", text("not for you", 403), "not for you"],
    ["409 and words that a framework calls HTML", text("twice", 409, "text/html"), "twice"],
    ["422 and a message in JSON", text('{"message": "no films"}', 422, "application/json"), "no films"],
]) {
    test(`the app refuses by ${what}: that ends the upload, in its words`, async () => {
        const stage = new Stage();
        const { uploader, asked } = asking(stage, [refused]);
        uploader.start();
        await until(() => uploader.failed);
        assert.deepEqual([uploader.error_code, uploader.error_name, uploader.error_msg], [1007, "ticket_refused", message]);
        uploader.start();
        await until(() => uploader.failed);
        assert.equal(asked.length, 2, "the user may try again");
    });
}

for (const given of [undefined, "", 7, null, { ticket: "t" }]) {
    test(`a function that returns ${JSON.stringify(given)} is a mistake, and no reason to ask again`, async () => {
        const { uploader } = asking(new Stage(), [() => given]);
        uploader.start();
        await until(() => uploader.failed);
        assert.equal(uploader.error_name, "bad_argument");
    });
}

test("no answer within half a minute counts as an app that is away, and its request is given up", async () => {
    const stage = new Stage();
    const { uploader, asked } = asking(stage, [() => new Promise(() => {})]);
    uploader.start();
    await until(() => asked.length === 1 && stage.env.timers.size > 0);
    stage.env.pass(30_000);
    await until(() => uploader.state === "waiting");
    stage.env.pass(1000);
    await until(() => asked.length === 2);
    assert.ok(asked[0].signal.aborted && !asked[1].signal.aborted);
});

test("pause and cancel end the question, and a late answer changes nothing", async () => {
    for (const act of ["pause", "cancel", "discard"]) {
        const stage = new Stage();
        let answer;
        const { uploader, asked } = asking(stage, [() => new Promise((resolve) => (answer = resolve))]);
        uploader.start();
        await until(() => answer);
        uploader[act](act === "pause" ? "pause" : "no more");
        assert.equal(uploader.state, act === "pause" ? "paused" : "cancelled");
        assert.ok(asked[0].signal.aborted);
        answer("t-late");
        await until(() => stage.env.timers.size === 0);
        assert.deepEqual([uploader.upload_id, stage.connections.length, stage.env.requests.length], ["", 0, 0], act);
    }
});

test("of many uploads a few ask at once, the others in their turn; one that is cancelled meanwhile does not ask", async () => {
    const stage = new Stage();
    const answers = [];
    const get_ticket = () => new Promise((resolve) => answers.push(resolve));
    const uploads = Array.from({ length: 6 }, () => new Uploader(stage.page, get_ticket, file_of(10)).start());
    await until(() => answers.length === 3);
    uploads[3].cancel();
    answers.shift()("t-0");
    await until(() => uploads[0].upload_id === "t-0" && answers.length === 3);
    answers.shift()("t-1");
    await until(() => answers.length === 3);
    answers.shift()("t-2");
    await until(() => uploads[2].upload_id === "t-2");
    assert.equal(answers.length, 2, "four and five are asking");
    assert.deepEqual(uploads.map((one) => one.state).slice(3), ["cancelled", "requesting_ticket", "requesting_ticket"]);
});

test("after an error that the ticket does not survive, another one is asked for; after others the same is used", async () => {
    const stage = new Stage();
    let number = 0;
    const { uploader } = asking(stage, [async () => `t-${++number}`]);
    uploader.start();
    (await stage.connected(1)).lose({ code: 400, message: "changed", retry: false, retry_after: null });
    await until(() => uploader.failed);
    uploader.start();
    const second = await stage.connected(2);
    assert.equal(uploader.upload_id, "t-1");
    second.welcome();
    stage.ack_all();
    second.state("failed", "the app did not take it", 303);
    assert.deepEqual([uploader.state, uploader.error_name], ["failed", "handover_failed"]);
    uploader.start();
    const third = await stage.connected(3);
    assert.equal(uploader.upload_id, "t-2");
    third.welcome({ state: "new" });
    assert.equal(uploader.bytes_acked, 0);
    assert.ok(third.chunks.length > 0, "all of it is sent again");
});

/** A stage whose browser remembers an unfinished upload of the file. */
function remembering() {
    const stage = new Stage();
    stage.page.unfinished.note("t-old", file_of(SIZE), { bytes_acked: 500, can_continue: false }, true);
    return stage;
}

test("with `resume` an unfinished upload of the same file goes on with its own ticket", async () => {
    const stage = remembering();
    const { uploader, asked } = asking(stage, [async () => "t-new"], { resume: true });
    uploader.start();
    (await stage.connected()).welcome({ extents: [[0, 600_000]] });
    assert.deepEqual([uploader.upload_id, uploader.bytes_acked, asked.length], ["t-old", 600_000, 0]);
});

test("two uploaders of a page do not go on with the same unfinished upload", async () => {
    const stage = remembering();
    const first = asking(stage, [async () => "t-new"], { resume: true }).uploader.start();
    const second = asking(stage, [async () => "t-new"], { resume: true }).uploader.start();
    await stage.connected(2);
    assert.deepEqual([first.upload_id, second.upload_id, first.failed], ["t-old", "t-new", false]);
});

for (const [what, meets] of [
    ["the server has forgotten it", (one) => one.lose({ code: 200, message: "unknown", retry: false, retry_after: null })],
    ["it began with another file", (one) => one.lose({ code: 400, message: "another", retry: false, retry_after: null })],
    ["it was cancelled", (one) => one.welcome({ state: "cancelled" }) ?? one.state("cancelled", "by the app")],
]) {
    test(`an unfinished upload that cannot go on, because ${what}, begins anew and fails nobody`, async () => {
        const stage = remembering();
        const { uploader, asked } = asking(stage, [async () => "t-new"], { resume: true });
        const ends = [];
        uploader.onerror = uploader.oncancelled = () => ends.push(uploader.state);
        uploader.start();
        meets(await stage.connected(1));
        const connection = await stage.connected(2);
        assert.deepEqual([uploader.upload_id, asked.length, ends], ["t-new", 1, []]);
        connection.welcome({ state: "new" });
        assert.deepEqual(stage.page.unfinished.list().map(({ ticket }) => ticket), ["t-new"]);
    });
}

test("what is neither ticket nor function is refused", () => {
    const { page } = new Stage();
    for (const given of [5, {}, null, Promise.resolve("t")]) {
        assert.throws(() => new Uploader(page, given, file_of(1)), { name: "TypeError", code: 1003 });
    }
});
