// Builds the files for browsers from the ES modules of incoming/js/:
//   incoming.js     classic script; its one global, `incoming`, holds what index.js exports
//   incoming.mjs    the same as an ES module
//   *.js.map, ...   the sources, as they are read in a browser's debugger
//   *.gz, *.br      both scripts compressed, as servers send them
//   incoming.d.ts   TypeScript declarations of the script and its global, kept by hand next to index.js
//   incoming.d.mts  the same for the module, without the global
//   incoming-uploader.mjs    the element, as a module that imports incoming.mjs; incoming-uploader.d.mts its declarations
//   locales/de.mjs, ...      its language packs
// `node tools/bundle.mjs [DIR]` writes them to DIR (default incoming/js/dist). The same sources make the same files.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

const source = fileURLToPath(new URL("../incoming/js/", import.meta.url));
const outdir = path.resolve(process.argv[2] ?? path.join(source, "dist"));
const entry = path.join(source, "index.js");

const shared = {
    absWorkingDir: source,
    outdir: path.join(source, "dist"), // also if it is written elsewhere: the maps name the sources from there
    bundle: true,
    charset: "utf8",
    target: "es2022",
    legalComments: "none",
    logLevel: "warning",
    write: false,
};
const banner = { js: "/*! Incoming!! browser library, MIT licence */" };

/** Styles are text in a module, which esbuild leaves as it is. */
const smaller_styles = {
    name: "smaller styles",
    setup: ({ onLoad }) =>
        onLoad({ filter: /element\/styles\.js$/ }, async ({ path: file }) => {
            const { code } = await transform((await import(file)).CSS, { loader: "css", minify: true, charset: "utf8" });
            return { contents: (await readFile(file, "utf8")).replace(/`[^`]*`/, () => JSON.stringify(code.trim())) };
        }),
};

/** The element's module shares the library with everybody else's. */
const library_beside = {
    name: "library beside",
    setup: ({ onResolve }) => onResolve({ filter: /^\.\.\/index\.js$/ }, () => ({ path: "./incoming.mjs", external: true })),
};

/** The exports of the sources, and a name for their version. */
async function examine() {
    const { metafile, outputFiles } = await build({ ...shared, entryPoints: [entry], format: "esm", metafile: true });
    const [{ exports }] = Object.values(metafile.outputs);
    return { exports, version: createHash("sha256").update(outputFiles[0].contents).digest("hex").slice(0, 16) };
}

/**
 * esbuild's own way to make a global copies the exports in a `for in` loop, which meets whatever a page has added to
 * Object.prototype.
 * @param {string[]} exports
 */
function classic(exports) {
    const names = exports.join(", ");
    return `import { ${names} } from "./index.js";\nglobalThis.incoming = { ${names} };\n`;
}

/** @param {string} declarations of the script, with the global */
function module_declarations(declarations) {
    const module = declarations.replace(/\n\/\/ --- the global -+\n[\s\S]*$/, "");
    if (module === declarations) throw new Error("incoming.d.ts has no section about the global");
    return module;
}

/** @returns {Promise<Record<string, Uint8Array | string>>} contents by name */
async function make() {
    const { exports, version } = await examine();
    const how = { ...shared, banner, minify: true, sourcemap: "linked", define: { __BUILD__: JSON.stringify(version) } };
    const script = build({
        ...how,
        stdin: { contents: classic(exports), resolveDir: source, sourcefile: "classic.js" },
        format: "iife",
        entryNames: "incoming",
        logOverride: { "empty-import-meta": "silent" }, // index.js knows that a classic script has none
    });
    const module = build({ ...how, entryPoints: [entry], format: "esm", entryNames: "incoming", outExtension: { ".js": ".mjs" } });
    const element = build({
        ...how,
        entryPoints: [path.join(source, "element", "index.js")],
        format: "esm",
        entryNames: "incoming-uploader",
        outExtension: { ".js": ".mjs" },
        plugins: [library_beside, smaller_styles],
    });
    const packs = (await readdir(path.join(source, "locales"))).map((name) => path.join(source, "locales", name));
    const locales = build({
        ...shared,
        entryPoints: packs,
        format: "esm",
        minify: true,
        entryNames: "locales/[name]",
        outExtension: { ".js": ".mjs" },
    });
    const files = {};
    for (const { outputFiles } of [await script, await module, await element, await locales]) {
        for (const { path: name, contents } of outputFiles) files[path.relative(shared.outdir, name)] = contents;
    }
    for (const name of Object.keys(files).filter((name) => /\.m?js$/.test(name))) {
        files[`${name}.gz`] = gzipSync(files[name], { level: 9 });
        files[`${name}.br`] = brotliCompressSync(files[name], { params: { [constants.BROTLI_PARAM_SIZE_HINT]: files[name].length } });
    }
    files["incoming.d.ts"] = await readFile(path.join(source, "incoming.d.ts"), "utf8");
    files["incoming.d.mts"] = module_declarations(files["incoming.d.ts"]);
    const element_types = await readFile(path.join(source, "incoming-uploader.d.ts"), "utf8");
    files["incoming-uploader.d.mts"] = element_types.replace('"./incoming.js"', '"./incoming.mjs"');
    return files;
}

await mkdir(path.join(outdir, "locales"), { recursive: true });
for (const [name, content] of Object.entries(await make())) await writeFile(path.join(outdir, name), content);
