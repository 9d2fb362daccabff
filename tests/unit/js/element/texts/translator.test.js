import assert from "node:assert/strict";
import test from "node:test";
import arabic from "../../../../../incoming/js/locales/ar.js";
import german from "../../../../../incoming/js/locales/de.js";
import polish from "../../../../../incoming/js/locales/pl.js";
import { Translator } from "../../../../../incoming/js/element/texts/translator.js";
import { ENGLISH } from "../../support/uploads.js";

/** Versions of ICU differ in spaces and apostrophes. */
const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ").replace(/'/g, "’");
const GERMAN = new Translator(german, "de-CH");

test("parameters are filled in, numbers as the language writes them, and nothing is filled in twice", () => {
    assert.equal(ENGLISH.text("next_try", { time: "5 s" }), "Next try in 5 s");
    assert.equal(ENGLISH.text("files_done", { done: 1200, count: 5000 }), "1,200 of 5,000 files");
    assert.equal(plain(GERMAN.text("files_done", { done: 1200, count: 5000 })), "1’200 von 5’000 Dateien");
    assert.equal(ENGLISH.text("named", { name: "{text} $& $1", text: "Finished" }), "{text} $& $1: Finished");
    assert.equal(ENGLISH.text("next_try"), "Next try in {time}");
});

test("the plural form is that of the language", () => {
    const texts = new Translator(polish);
    const forms = [1, 2, 5, 22].map((count) => texts.text("too_many", { count }));
    assert.deepEqual(forms, [
        "Można wybrać tylko 1 plik",
        "Można wybrać najwyżej 2 pliki",
        "Można wybrać najwyżej 5 plików",
        "Można wybrać najwyżej 22 pliki",
    ]);
    assert.equal(ENGLISH.text("files_done", { done: 0, count: 1 }), "0 of 1 file");
});

test("sizes and rates have three digits that matter, in the units of the language", () => {
    const sizes = [0, 1, 999, 1000, 1_234_567, 45_600_000, 999_400_000, 999_600_000, 40e9, 2.5e12].map((bytes) => plain(ENGLISH.size(bytes)));
    assert.deepEqual(sizes, ["0 bytes", "1 byte", "999 bytes", "1 kB", "1.23 MB", "45.6 MB", "999 MB", "1 GB", "40 GB", "2.5 TB"]);
    assert.equal(plain(ENGLISH.rate(45_600_000)), "45.6 MB/s");
    assert.equal(plain(GERMAN.size(1_234_567)), "1.23 MB");
    assert.equal(plain(new Translator(german).size(1_234_567)), "1,23 MB");
});

test("percentages are rounded down: only all of it is 100 %", () => {
    assert.deepEqual([0, 0.4299, 0.999, 1].map((part) => ENGLISH.percent(part)), ["0%", "42%", "99%", "100%"]);
    assert.equal(plain(GERMAN.percent(0.42)), "42%");
});

test("a duration has its largest unit, and the next where that says more", () => {
    const times = [0, 0.4, 39, 60, 95, 599, 600, 3600, 5400, 90_000, 864_000].map((seconds) => plain(ENGLISH.duration(seconds)));
    assert.deepEqual(times, ["1 sec", "1 sec", "39 secs", "1 min", "1 min 35 secs", "9 mins 59 secs", "10 mins", "1 hr", "1 hr 30 mins", "1 day 1 hr", "10 days"]);
});

test("Arabic, Persian and Hebrew are written from right to left", () => {
    assert.deepEqual([new Translator(arabic).direction, ENGLISH.direction], ["rtl", "ltr"]);
});
