import assert from "node:assert/strict";
import test from "node:test";
import { FileHandles } from "../../../../incoming/js/page/file_handles.js";

/** As much of IndexedDB as is used: requests that succeed a moment later. */
class FakeDatabases {
    stores = null;
    closed = 0;

    open() {
        const opening = {};
        const database = {
            createObjectStore: () => (this.stores = new Map()),
            transaction: () => ({ objectStore: () => this.#store() }),
            close: () => this.closed++,
        };
        queueMicrotask(() => {
            opening.result = database;
            if (!this.stores) opening.onupgradeneeded();
            opening.onsuccess();
        });
        return opening;
    }

    #store() {
        const done = (result) => {
            const request = { result };
            queueMicrotask(() => request.onsuccess());
            return request;
        };
        return {
            put: (value, key) => done(void this.stores.set(key, value) ?? key),
            get: (key) => done(this.stores.get(key)),
            delete: (key) => done(void this.stores.delete(key)),
        };
    }
}

test("a handle is kept, found again later, and removed", async () => {
    const databases = new FakeDatabases();
    const handle = { kind: "file" };
    assert.equal(await new FileHandles(databases).keep("t1", handle), true);
    const later = new FileHandles(databases);
    assert.equal(await later.find("t1"), handle);
    assert.equal(await later.find("t2"), null);
    await later.remove("t1");
    assert.equal(await later.find("t1"), null);
    assert.equal(databases.closed, 5, "no connection stays open to block another tab");
});

test("where there is no database, or none may be used, nothing is kept and nobody hurt", async () => {
    const forbidden = {
        open: () => {
            throw new DOMException("no", "SecurityError");
        },
    };
    const failing = {
        open: () => {
            const opening = { error: new DOMException("full", "QuotaExceededError") };
            queueMicrotask(() => opening.onerror());
            return opening;
        },
    };
    for (const databases of [null, forbidden, failing]) {
        const handles = new FileHandles(databases);
        assert.equal(await handles.keep("t1", {}), false);
        assert.equal(await handles.find("t1"), null);
        await handles.remove("t1");
    }
});
