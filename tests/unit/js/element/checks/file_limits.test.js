import assert from "node:assert/strict";
import test from "node:test";
import { parse_size, within_limits } from "../../../../../incoming/js/element/checks/file_limits.js";

const file = (name, size = 10, type = "") => ({ file: { name, size, type } });
const OPEN = { accept: "", max_size: 0, max_files: 0 };
const names = ({ taken }) => taken.map((one) => one.file.name);

test("without limits everything is taken", () => {
    const found = within_limits([file("a"), file("b", 1e15)], 7, OPEN);
    assert.deepEqual([names(found), found.problems], [["a", "b"], []]);
});

test("types are judged as by the accept attribute, by extension or media type, in any case", () => {
    const files = [file("a.MP4"), file("b.txt", 1, "text/plain"), file("c.mov", 1, "video/quicktime"), file("d.exe", 1, "application/x-msdownload")];
    const found = within_limits(files, 0, { ...OPEN, accept: " .mp4, video/* ,TEXT/plain" });
    assert.deepEqual([names(found), found.problems], [["a.MP4", "b.txt", "c.mov"], [["wrong_type", { name: "d.exe" }]]]);
});

test("a file at the limit is taken, and one byte more is refused with name and limit", () => {
    const found = within_limits([file("a", 100), file("b", 101)], 0, { ...OPEN, max_size: 100 });
    assert.deepEqual([names(found), found.problems], [["a"], [["too_large", { name: "b", size: 100 }]]]);
});

test("those that count already count, and the rest is refused once", () => {
    const found = within_limits([file("a"), file("b"), file("c")], 2, { ...OPEN, max_files: 3 });
    assert.deepEqual([names(found), found.problems], [["a"], [["too_many", { count: 3 }]]]);
});

test("sizes are written with decimal or binary units", () => {
    const sizes = ["", "1000", "5 kB", "500MB", "2 GiB", "1.5T", "7 b"].map(parse_size);
    assert.deepEqual(sizes, [0, 1000, 5000, 5e8, 2 ** 31, 1.5e12, 7]);
    assert.deepEqual(["big", "-5", "5 XB", "1e9"].map(parse_size), [null, null, null, null]);
});
