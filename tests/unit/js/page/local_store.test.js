import assert from "node:assert/strict";
import test from "node:test";
import { LocalStore } from "../../../../incoming/js/page/local_store.js";
import { FakeStorage } from "../support/environment.js";

test("values are found again by their prefix, whatever else the site keeps", () => {
    const storage = new FakeStorage();
    storage.setItem("theme", "dark");
    storage.setItem("incoming.upload.broken", "{");
    storage.setItem("incoming.upload.number", "7");
    const store = new LocalStore(storage);
    store.set("incoming.upload.a", { n: 1 });
    store.set("incoming.cancel.b", { n: 2 });
    assert.deepEqual(new LocalStore(storage).entries("incoming.upload."), [["a", { n: 1 }]]);
    store.remove("incoming.upload.a");
    assert.deepEqual(store.entries("incoming.upload."), []);
    assert.equal(storage.getItem("theme"), "dark");
});

test("a storage that is absent, full or forbidden hurts nobody", () => {
    const refuse = () => {
        throw new DOMException("no", "QuotaExceededError");
    };
    const forbidden = { setItem: refuse, removeItem: refuse, key: refuse, getItem: refuse, length: 1 };
    for (const storage of [null, forbidden]) {
        const store = new LocalStore(storage);
        store.set("k", {});
        store.remove("k");
        assert.deepEqual(store.entries(""), []);
    }
});

test("when it is not enabled nothing new is kept, and what was there can be removed", () => {
    const storage = new FakeStorage();
    const store = new LocalStore(storage);
    store.set("a", {});
    store.enabled = false;
    store.set("b", {});
    assert.equal(storage.length, 1);
    store.remove("a");
    assert.equal(storage.length, 0);
});
