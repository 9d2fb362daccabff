// Names of files as people see them: nothing in them is invisible, or reorders what is around it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { visible_name } from "../../../../../incoming/js/element/texts/file_name.js";

test("ordinary names of any script stay as they are", () => {
    for (const name of ["a b.txt", "größer & ☃.bin", "הרצאה 1.pdf", "👩‍🚀.png", "می‌خواهم.txt"]) assert.equal(visible_name(name), name);
});

test("characters that cannot be seen, or that reorder others, appear as their numbers", () => {
    assert.equal(visible_name("exe.\u202egpj\n\u2066.bat"), "exe.‹U+202E›gpj‹U+000A›‹U+2066›.bat");
    assert.equal(visible_name("\u{1d173}\ufeff.txt"), "‹U+1D173›‹U+FEFF›.txt");
});

test("flags keep their tags", () => {
    const scotland = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}.svg";
    assert.equal(visible_name(scotland), scotland);
});
