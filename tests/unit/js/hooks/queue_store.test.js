// The store of the frameworks, and the hooks that use it where a page is rendered on a server.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { get } from "svelte/store";
import { createSSRApp, h } from "vue";
import { renderToString as render_vue } from "vue/server-renderer";
import { useIncoming as use_in_react } from "../../../../incoming/js/hooks/react_hook.js";
import { useIncoming as use_in_vue } from "../../../../incoming/js/hooks/vue_hook.js";
import { incoming_store } from "../../../../incoming/js/hooks/queue_store.js";

const FOLDER = new URL("../../../../incoming/js/hooks/", import.meta.url);
const file = (name) => new File(["content"], name, { lastModified: 1 });
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Its uploads wait for tickets that never come. */
function waiting_store(options) {
    return incoming_store((_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", reject)), options);
}

test("each file of the store has at most 60 lines", () => {
    for (const name of readdirSync(FOLDER).filter((name) => name.endsWith(".js"))) {
        const lines = readFileSync(new URL(name, FOLDER), "utf8").split("\n").length - 1;
        assert.ok(lines <= 60, `${name}: ${lines}`);
    }
});

test("the state has a copy of each upload, which is another object only after a change of that upload", async () => {
    const store = waiting_store();
    const empty = store.snapshot();
    assert.equal(store.snapshot(), empty);
    assert.deepEqual([...empty.uploads], []);
    const [one, two] = store.queue.add([file("a"), file("b")]);
    await turn();
    const before = store.snapshot();
    assert.equal(store.snapshot(), before);
    assert.deepEqual(before.uploads.map(({ filename, state }) => [filename, state]), [["a", "requesting_ticket"], ["b", "requesting_ticket"]]);
    assert.deepEqual(before.uploads.map(({ uploader }) => uploader), [one, two]);
    one.pause("pause");
    await turn();
    const after = store.snapshot();
    assert.notEqual(after, before);
    assert.equal(after.uploads[1], before.uploads[1]);
    assert.deepEqual([after.uploads[0].paused, before.uploads[0].paused], [true, false]);
    assert.equal(after.uploads[0].key, before.uploads[0].key);
    assert.ok(Object.isFrozen(after) && Object.isFrozen(after.uploads) && Object.isFrozen(after.uploads[0]));
    store.queue.cancel();
});

test("Svelte reads it as a store: at once, after each change, and no more after the end", async () => {
    const store = waiting_store();
    assert.equal(get(store), store.snapshot());
    const seen = [];
    const end = store.subscribe(({ files_total }) => seen.push(files_total));
    assert.deepEqual(seen, [0]);
    store.queue.add([file("a")]);
    await turn();
    assert.equal(seen.at(-1), 1);
    end();
    store.queue.cancel();
    await turn();
    assert.equal(seen.at(-1), 1);
    assert.equal(store.snapshot().files_cancelled, 1);
});

test("uploads that no component shows any more are paused, and go on when one does", async () => {
    const store = waiting_store();
    store.queue.add([file("a")]);
    const hide = store.show();
    const hide_other = store.show();
    await turn();
    hide();
    await turn();
    assert.equal(store.snapshot().paused, false);
    hide_other();
    const hide_again = store.show(); // as StrictMode does
    await turn();
    assert.equal(store.snapshot().paused, false);
    hide_again();
    await turn();
    assert.deepEqual([store.snapshot().paused, store.snapshot().uploads[0].paused], [true, true]);
    store.show();
    await turn();
    assert.deepEqual([store.snapshot().paused, store.snapshot().uploads[0].paused], [false, false]);
    store.queue.cancel();
});

test("a queue that the user has paused stays paused", async () => {
    const store = waiting_store({ paused: true });
    store.show()();
    await turn();
    store.show();
    assert.equal(store.snapshot().paused, true);
});

const shown = ({ files_total, paused }) => `${files_total} ${paused}`;

test("React renders it on a server, of a component's own and given", () => {
    const Own = () => createElement("p", null, shown(use_in_react(async () => "ticket", { paused: true }).state));
    const store = waiting_store();
    const Given = () => createElement("p", null, shown(use_in_react(store).state));
    assert.equal(renderToString(createElement(Own)), "<p>0 true</p>");
    assert.equal(renderToString(createElement(Given)), "<p>0 false</p>");
});

test("Vue renders it on a server, of a component's own and given", async () => {
    const store = waiting_store();
    for (const [source, options, html] of [[async () => "ticket", { paused: true }, "<p>0 true</p>"], [store, undefined, "<p>0 false</p>"]]) {
        const setup = () => {
            const { state } = use_in_vue(source, options);
            return () => h("p", shown(state.value));
        };
        assert.equal(await render_vue(createSSRApp({ setup })), html);
    }
});

test("a misspelt option is named", () => {
    assert.throws(() => incoming_store(async () => "t", { concurency: 2 }), /no option "concurency"/);
});
