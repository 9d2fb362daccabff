import assert from "node:assert/strict";
import test from "node:test";
import { Memory } from "../../incoming/js/memory.js";
import { FakeStorage } from "./support/environment.js";

test("values are found again by their prefix, whatever else the site keeps", () => {
    const storage = new FakeStorage();
    storage.setItem("theme", "dark");
    storage.setItem("incoming.upload.broken", "{");
    storage.setItem("incoming.upload.number", "7");
    const memory = new Memory(storage);
    memory.set("incoming.upload.a", { n: 1 });
    memory.set("incoming.cancel.b", { n: 2 });
    assert.deepEqual(new Memory(storage).entries("incoming.upload."), [["a", { n: 1 }]]);
    memory.remove("incoming.upload.a");
    assert.deepEqual(memory.entries("incoming.upload."), []);
    assert.equal(storage.getItem("theme"), "dark");
});

test("a storage that is absent, full or forbidden hurts nobody", () => {
    const refuse = () => {
        throw new DOMException("no", "QuotaExceededError");
    };
    const forbidden = { setItem: refuse, removeItem: refuse, key: refuse, getItem: refuse, length: 1 };
    for (const storage of [null, forbidden]) {
        const memory = new Memory(storage);
        memory.set("k", {});
        memory.remove("k");
        assert.deepEqual(memory.entries(""), []);
    }
});

test("when it is not enabled nothing new is kept, and what was there can be removed", () => {
    const storage = new FakeStorage();
    const memory = new Memory(storage);
    memory.set("a", {});
    memory.enabled = false;
    memory.set("b", {});
    assert.equal(storage.length, 1);
    memory.remove("a");
    assert.equal(storage.length, 0);
});
