// Makes what browsers load from the ES modules of incoming/js/:
//   incoming.js     classic script; its one global, `incoming`, holds what index.js exports
//   incoming.mjs    the same as an ES module
//   *.js.map, ...   the sources, as they are read in a browser's debugger
//   *.gz, *.br      both scripts compressed, as servers send them
//   incoming.d.ts   TypeScript declarations of the script and its global, kept by hand next to index.js
//   incoming.d.mts  the same for the module, without the global
// `node tools/bundle.mjs [DIR]` writes them to DIR (default incoming/js/dist). The same sources make the same files.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

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

/** What the sources export, and a name for this version of them. */
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
    const files = {};
    for (const { outputFiles } of [await script, await module]) {
        for (const { path: name, contents } of outputFiles) files[path.basename(name)] = contents;
    }
    for (const name of ["incoming.js", "incoming.mjs"]) {
        files[`${name}.gz`] = gzipSync(files[name], { level: 9 });
        files[`${name}.br`] = brotliCompressSync(files[name], { params: { [constants.BROTLI_PARAM_SIZE_HINT]: files[name].length } });
    }
    files["incoming.d.ts"] = await readFile(path.join(source, "incoming.d.ts"), "utf8");
    files["incoming.d.mts"] = module_declarations(files["incoming.d.ts"]);
    return files;
}

await mkdir(outdir, { recursive: true });
for (const [name, content] of Object.entries(await make())) await writeFile(path.join(outdir, name), content);
