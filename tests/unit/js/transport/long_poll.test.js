import assert from "node:assert/strict";
import test from "node:test";
import { LongPoll } from "../../../../incoming/js/transport/long_poll.js";
import { FakeEnvironment } from "../support/environment.js";

const FRONTEND = "https://up.example/f/";
const WAIT = `${FRONTEND}uploads/wait`;
const NOT_FOUND = { code: 106, message: "no such URL", retry: false, retry_after: null };

/** A page whose uploads wait for news, and what each of them is told. */
function waiting(...tickets) {
    const env = new FakeEnvironment();
    const news = new LongPoll(env, FRONTEND);
    const told = [];
    const watch = (ticket, state = "waiting") =>
        news.watch({ ticket, state, done: ({ status, json, problem }) => told.push([ticket, problem?.code ?? json?.state ?? status]) });
    const ends = tickets.map((ticket) => watch(ticket));
    env.pass(50);
    return { env, told, watch, ends };
}

/** The requests that the browser has open. */
function open(env) {
    return env.requests.filter(({ aborted, onloadend, answered }) => !aborted && onloadend && !answered);
}

function answer(request, ...rest) {
    request.answered = true;
    request.answer(...rest);
}

function asked({ body }) {
    return JSON.parse(body).uploads.map(({ id }) => id);
}

test("one upload is asked about by itself, as every server understands", () => {
    const { env, told } = waiting("a");
    assert.deepEqual([env.request.method, env.request.url], ["GET", `${FRONTEND}upload/a?wait=25&state=waiting`]);
    answer(env.request, 200, { id: "a", state: "finished" });
    assert.deepEqual([told, env.timers.size, open(env)], [[["a", "finished"]], 0, []]);
});

test("another reason of the same state is news, the one that is known is not", () => {
    const env = new FakeEnvironment();
    const news = new LongPoll(env, FRONTEND);
    const told = [];
    const watch = (reason) => news.watch({ ticket: "a", state: "handing_over", reason, done: ({ json }) => told.push(json.reason) });
    watch("");
    env.pass(50);
    answer(env.request, 200, { id: "a", state: "handing_over", reason: "attempt 1" });
    assert.deepEqual(told, ["attempt 1"]);
    const end = watch("attempt 1");
    env.pass(50);
    answer(env.request, 200, { id: "a", state: "handing_over", reason: "attempt 1" });
    assert.deepEqual(told, ["attempt 1"]);
    assert.equal(open(env).length, 0, "an answer without news that came at once is not repeated at once");
    env.pass(1_000);
    answer(env.request, 200, { id: "a", state: "handing_over", reason: "attempt 2" });
    assert.deepEqual(told, ["attempt 1", "attempt 2"]);
    end();
});

test("several wait together in one request that needs no preflight", () => {
    const { env, told } = waiting("a", "b", "c", "d", "e", "f");
    assert.equal(env.requests.length, 1);
    assert.deepEqual([env.request.method, env.request.url], ["POST", WAIT]);
    assert.deepEqual(Object.keys(env.request.headers), ["Accept"]);
    assert.deepEqual(JSON.parse(env.request.body).wait, 25);
    assert.deepEqual(asked(env.request), ["a", "b", "c", "d", "e", "f"]);
    answer(env.request, 200, { type: "news", uploads: [{ id: "c", state: "finished" }, { id: "e", error: { code: 200, message: "unknown" } }] });
    assert.deepEqual(told, [["c", "finished"], ["e", 200]]);
    env.pass(0);
    assert.deepEqual(asked(env.request).sort(), ["a", "b", "d", "f"]);
});

test("however many uploads wait, begin and end, the page never has two requests that wait", () => {
    for (const knows of [true, false]) {
        const { env, watch, ends } = waiting("a", "b", "c");
        for (let turn = 0; turn < 200; turn++) {
            assert.ok(open(env).length <= 1);
            if (turn % 3 === 0) ends.push(watch(`ticket-${turn}`));
            if (turn % 4 === 0) ends.shift()?.();
            env.pass(turn % 7 === 0 ? 2_000 : 20);
            const [request] = open(env);
            if (!request || turn % 5) continue;
            if (request.method === "POST") answer(request, ...(knows ? [200, { type: "news", uploads: [] }] : [404, NOT_FOUND]));
            else answer(request, 200, { state: "waiting" });
        }
        for (const end of ends) end();
        assert.deepEqual([open(env).length, env.timers.size], [0, 0], "nobody waits any more");
    }
});

test("at a server that does not know such requests the uploads take turns", () => {
    const { env, told } = waiting("a", "b", "c");
    answer(env.request, 404, NOT_FOUND);
    const turns = [];
    for (let turn = 0; turn < 6; turn++) {
        env.pass(0);
        assert.equal(open(env).length, 1);
        turns.push(env.request.url.replace(FRONTEND, ""));
        env.pass(2_000);
        answer(env.request, 200, { state: "waiting" });
    }
    assert.deepEqual(turns.slice(0, 3), ["a", "b", "c"].map((ticket) => `upload/${ticket}?wait=2&state=waiting`));
    assert.deepEqual(turns.slice(3), turns.slice(0, 3));
    env.pass(0);
    answer(env.request, 200, { state: "finished" });
    assert.deepEqual(told, [["a", "finished"]]);
    env.pass(600_000);
    assert.ok(env.requests.slice(1).every(({ method }) => method === "GET"), "it is not asked again");
});

test("a first request for several that fails decides nothing: the uploads' own do, and later it is tried again", () => {
    const { env, told } = waiting("a", "b");
    answer(env.request, 0);
    assert.deepEqual(told, []);
    env.pass(0);
    answer(env.request, 0);
    env.pass(0);
    answer(env.request, 0);
    assert.deepEqual(told, [["a", 0], ["b", 0]]);
    const later = waiting("a", "b");
    answer(later.env.request, 0);
    for (let seconds = 0; seconds < 60; seconds += 2) {
        later.env.pass(2_000);
        answer(later.env.request, 200, { state: "waiting" });
    }
    later.env.pass(0);
    assert.equal(later.env.request.url, WAIT);
});

test("where it has worked, its failure is that of the line, and all are told", () => {
    const { env, told } = waiting("a", "b");
    env.pass(20_000);
    answer(env.request, 200, { type: "news", uploads: [] });
    env.pass(0);
    env.pass(35_000);
    assert.deepEqual(told, [["a", 0], ["b", 0]]);
    assert.deepEqual([open(env), env.timers.size], [[], 0]);
});

test("one that begins to wait for what is asked already asks nothing new", () => {
    const { env, ends, watch } = waiting("a", "b");
    ends[0]();
    const again = watch("a");
    env.pass(1_000);
    assert.equal(env.requests.length, 1);
    again();
    watch("a", "handing_over");
    env.pass(50);
    assert.equal(env.requests.length, 2, "but in another state it does");
});

test("an answer without news that comes at once is not asked for again at once", () => {
    const { env } = waiting("a", "b");
    for (let i = 0; i < 3; i++) {
        const before = env.requests.length;
        answer(env.request, 200, { type: "news", uploads: [] });
        env.pass(999);
        assert.equal(env.requests.length, before);
        env.pass(1);
        assert.equal(env.requests.length, before + 1);
    }
});

test("more uploads than the server takes at once have their turns", () => {
    const tickets = Array.from({ length: 70 }, (_, n) => `t${n}`);
    const { env } = waiting(...tickets);
    assert.deepEqual([asked(env.request).length, JSON.parse(env.request.body).wait], [50, 2]);
    const first = asked(env.request);
    env.pass(2_000);
    answer(env.request, 200, { type: "news", uploads: [] });
    env.pass(0);
    assert.deepEqual(new Set([...first, ...asked(env.request)]).size, 70);
});

test("uploads that come one after the other without a pause do not put the question off", () => {
    const { env, watch } = waiting("a", "b");
    const before = env.requests.length;
    for (let n = 0; n < 20; n++) {
        watch(`more-${n}`);
        env.pass(10);
    }
    assert.ok(env.requests.length - before >= 3, `${env.requests.length - before}`);
    assert.ok(asked(env.request).length > 10);
});

test("the current question stands until the next is asked", () => {
    const { env, watch, told } = waiting("a", "b");
    const current = env.request;
    watch("c");
    env.pass(20);
    assert.equal(current.aborted, false);
    answer(current, 200, { type: "news", uploads: [{ id: "a", state: "finished" }] });
    assert.deepEqual(told, [["a", "finished"]]);
    env.pass(0);
    assert.deepEqual(asked(env.request).sort(), ["b", "c"]);
});
