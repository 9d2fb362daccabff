import assert from "node:assert/strict";
import test from "node:test";
import { files_of } from "../../../../incoming/js/queue/dropped_files.js";

const file_entry = (path) => ({
    isDirectory: false,
    fullPath: path,
    file: (done, failed) => (path.includes("secret") ? failed(new Error("refused")) : done(new File(["x"], path.split("/").at(-1)))),
});
/** As Chromium: a few entries at a time, an empty list at the end. */
const folder_entry = (path, entries) => ({
    isDirectory: true,
    fullPath: path,
    createReader() {
        const left = [...entries];
        return { readEntries: (done) => done(left.splice(0, 2)) };
    },
});
const item = (entry, more = {}) => ({
    kind: "file",
    webkitGetAsEntry: () => entry,
    getAsFile: () => new File(["x"], entry.fullPath.split("/").at(-1)),
    ...more,
});

test("files of dropped folders come with their paths, however deep and many", async () => {
    const names = ["1", "2", "3", "4", "5"].map((name) => file_entry(`/films/old/${name}.mp4`));
    const dropped = [item(folder_entry("/films", [file_entry("/films/a.mp4"), folder_entry("/films/old", names)]))];
    const { files, problems } = await files_of({ items: dropped });
    assert.deepEqual(files.map(({ path }) => path), ["films/a.mp4", ...[1, 2, 3, 4, 5].map((name) => `films/old/${name}.mp4`)]);
    assert.deepEqual(problems, []);
});

test("a dropped file has its handle where the browser gives one, and comes without where that is refused", async () => {
    const handle = { kind: "file" };
    const items = [
        item(file_entry("/a.txt"), { getAsFileSystemHandle: async () => handle }),
        item(file_entry("/b.txt"), { getAsFileSystemHandle: async () => { throw new Error("NotAllowedError"); } }),
        item(file_entry("/c.txt"), { webkitGetAsEntry: undefined }),
        { kind: "string" },
    ];
    const { files } = await files_of({ items });
    assert.deepEqual(files.map(({ path, handle: given }) => [path, given]), [["a.txt", handle], ["b.txt", null], ["c.txt", null]]);
});

test("what cannot be read is named, and the rest is found", async () => {
    const items = [item(folder_entry("/all", [file_entry("/all/secret.txt"), file_entry("/all/b.txt")]))];
    const { files, problems } = await files_of({ items });
    assert.deepEqual(files.map(({ path }) => path), ["all/b.txt"]);
    assert.deepEqual(problems.map(({ path, error }) => [path, error.message]), [["all/secret.txt", "refused"]]);
});
