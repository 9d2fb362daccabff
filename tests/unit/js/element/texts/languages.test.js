// The language packs: all have all texts, with the same parameters and the plural forms that their languages need.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";
import english from "../../../../../incoming/js/locales/en.js";
import { LANGUAGES, add_language, language_for, translator } from "../../../../../incoming/js/element/texts/languages.js";

const JS = new URL("../../../../../incoming/js/", import.meta.url);
const FILES = readdirSync(new URL("locales/", JS));
const packs = await Promise.all(FILES.map(async (name) => [name, (await import(new URL(`locales/${name}`, JS).href)).default]));
const forms_of = (message) => (typeof message === "string" ? { other: message } : message);
const parameters_of = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);

test("there are more than twenty languages, some from right to left, and the element knows each of them", () => {
    assert.ok(LANGUAGES.length >= 20);
    assert.ok(["ar", "fa", "he"].every((language) => LANGUAGES.includes(language)));
    assert.deepEqual(FILES.sort(), [...LANGUAGES].sort().map((language) => `${language}.js`));
});

for (const [name, pack] of packs) {
    test(`${name} has every text and no other, in its own language`, () => {
        assert.equal(`${pack.language}.js`, name);
        assert.deepEqual(Object.keys(pack).sort(), Object.keys(english).sort());
        const own = Object.keys(english).filter((key) => JSON.stringify(pack[key]) !== JSON.stringify(english[key]));
        if (name !== "en.js") assert.ok(own.length > 50, `only ${own.length} texts differ from English`);
    });

    test(`${name} fills the same parameters in, and has each plural form that its language needs`, () => {
        const plurals = new Intl.PluralRules(pack.language);
        for (const [key, message] of Object.entries(english)) {
            assert.equal(typeof pack[key], typeof message, key);
            const wanted = parameters_of(forms_of(message).other);
            for (const [form, text] of Object.entries(forms_of(pack[key]))) {
                assert.ok(text.trim(), `${key} ${form}`);
                // "one file" and "two files" may be written out.
                const may_lack = ["zero", "one", "two"].includes(form) ? "count" : "";
                const lacks = wanted.filter((one) => !parameters_of(text).includes(one) && one !== may_lack);
                const others = parameters_of(text).filter((one) => !wanted.includes(one));
                assert.deepEqual([lacks, others], [[], []], `${key} ${form}`);
            }
            if (typeof message === "string") continue;
            for (let count = 0; count <= 1000; count++) assert.ok(pack[key][plurals.select(count)], `${key} for ${count}`);
        }
    });
}

test("each of the five that may limit an upload has a text", () => {
    const [, union] = /export type UploadLimit =([^;]*);/.exec(readFileSync(new URL("incoming.d.ts", JS), "utf8"));
    const limits = [...union.matchAll(/"(\w+)"/g)].map(([, limit]) => limit);
    assert.equal(limits.length, 5);
    const keys = Object.keys(english).filter((key) => key.startsWith("why."));
    assert.deepEqual(keys.sort(), [...limits, "max_rate", "multiplexed", "unknown"].map((limit) => `why.${limit}`).sort());
});

test("each state has a text, and so have the errors that a user can do something about", () => {
    const [, union] = /export type UploadState =\n([\s\S]*?);/.exec(readFileSync(new URL("incoming.d.ts", JS), "utf8"));
    for (const [, state] of union.matchAll(/"(\w+)"/g)) assert.ok(english[`state.${state}`], state);
    const names = readFileSync(new URL("transport/errors.js", JS), "utf8");
    for (const key of Object.keys(english)) {
        if (key.startsWith("error.") && key !== "error.other") assert.ok(names.includes(key.slice(6)), `${key} is no error`);
    }
});

test("every key that the element uses is in the packs, and every one of the packs is used", () => {
    const folder = new URL("element/", JS);
    const source = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".js")).map((name) => readFileSync(new URL(name, folder), "utf8")).join("\n");
    const literals = new Set([...source.matchAll(/"([a-z_]+(?:\.[a-z_]+)?)"/g)].map(([, text]) => text));
    const named = [...source.matchAll(/^ +(retry|resume|pause|cancel|remove|clear): /gm)].map(([, key]) => key);
    const used = new Set([...literals, ...named]);
    const unused = Object.keys(english).filter((key) => !/^(state|error|why)\.|^language$/.test(key) && !used.has(key));
    assert.deepEqual(unused, []);
    const asked = [...source.matchAll(/\btext\("([\w.]+)"/g)].map(([, key]) => key);
    assert.deepEqual(asked.filter((key) => english[key] === undefined), []);
    assert.ok(asked.length > 15);
});

test("a language is found by its region, its other names, and in any case; of others there is none", () => {
    const found = ["de", "de-CH", "DE-at", "pt-BR", "zh-Hant-TW", "no", "nn-NO", "iw"].map(language_for);
    assert.deepEqual(found, ["de", "de", "de", "pt", "zh", "nb", "nb", "he"]);
    assert.deepEqual([language_for("tlh"), language_for("")], [null, null]);
});

test("English is there at once, an app's own pack too; an unknown language gets English and one warning", (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    assert.equal(translator("en-AU").text("pause"), "Pause");
    add_language({ ...english, language: "tlh", pause: "yev" });
    assert.equal(translator("tlh").text("pause"), "yev");
    assert.throws(() => add_language({ pause: "x" }), { name: "TypeError" });
    for (const tag of ["dee", "dee", "xx-YY"]) assert.equal(translator(tag).text("pause"), "Pause");
    assert.deepEqual(warn.mock.calls.map(({ arguments: [text] }) => text), [
        'incoming: there is no language pack for "dee"; did you mean "de"?; English is used',
        'incoming: there is no language pack for "xx-YY"; English is used',
    ]);
});

test("a pack that cannot be loaded leaves English and one warning", async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    // Beside the source of the module there is no folder of packs.
    assert.equal((await translator("fr")).text("pause"), "Pause");
    assert.match(warn.mock.calls[0].arguments[0], /"fr" cannot be loaded/);
});
