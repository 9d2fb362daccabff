import assert from "node:assert/strict";
import test from "node:test";
import { CSS } from "../../../../../incoming/js/element/parts/styles.js";

test("nothing moves for users who want less motion", () => {
    const wanted = "@media (prefers-reduced-motion: no-preference) {";
    const [start, moving] = [CSS.indexOf(wanted), /transition|animation/];
    const rest = CSS.slice(start + wanted.length);
    const end = rest.indexOf("} }");
    assert.match(rest.slice(0, end), moving);
    assert.doesNotMatch(CSS.slice(0, start) + rest.slice(end), moving);
});
