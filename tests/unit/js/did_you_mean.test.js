import assert from "node:assert/strict";
import test from "node:test";
import { did_you_mean } from "../../../incoming/js/did_you_mean.js";

test("a slip finds its name, another word finds none", () => {
    const known = ["concurrency", "resume", "max-size"];
    assert.equal(did_you_mean("Resum", known), '; did you mean "resume"?');
    assert.equal(did_you_mean("maxsize", known), '; did you mean "max-size"?');
    assert.equal(did_you_mean("colour", known), "");
    assert.equal(did_you_mean("", []), "");
});
