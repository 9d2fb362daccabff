// Builds the files for browsers from the ES modules of incoming/js/:
//   incoming.js     classic script; its one global, `incoming`, holds what index.js exports
//   incoming.mjs    the same as an ES module
//   *.js.map, ...   the sources, as they are read in a browser's debugger
//   *.gz, *.br      both scripts compressed, as servers send them
//   incoming.d.ts   TypeScript declarations of the script and its global, kept by hand next to index.js
//   incoming.d.mts  the same for the module, without the global
//   incoming-uploader.mjs    the element, as a module that imports incoming.mjs; incoming-uploader.d.mts its declarations
//   incoming-details.mjs     the details of a row, which the element loads when they are opened
//   locales/de.mjs, ...      its language packs
// `node tools/bundle.mjs [DIR]` writes them to DIR (default incoming/js/dist). The same sources make the same files.
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build_details, build_element, build_locales, build_module, build_small, declarations, files_of, library_options, source } from "./library_builds.mjs";

const outdir = path.resolve(process.argv[2] ?? path.join(source, "dist"));

/**
 * esbuild's own way to make a global copies the exports in a `for in` loop, which meets whatever a page has added to
 * Object.prototype.
 * @param {string[]} exports
 */
function classic(exports) {
    const names = exports.join(", ");
    return `import { ${names} } from "./index.js";\nglobalThis.incoming = { ${names} };\n`;
}

/** @returns {Promise<Record<string, Uint8Array | string>>} contents by name */
async function make() {
    const { exports, options } = await library_options();
    const script = build_small({
        ...options,
        stdin: { contents: classic(exports), resolveDir: source, sourcefile: "classic.js" },
        format: "iife",
        entryNames: "incoming",
        logOverride: { "empty-import-meta": "silent" }, // index.js knows that a classic script has none
    });
    const files = files_of(await Promise.all([script, build_module(options), build_element(options), build_details(options), build_locales()]));
    for (const name of Object.keys(files).filter((name) => /\.m?js$/.test(name))) {
        files[`${name}.gz`] = gzipSync(files[name], { level: 9 });
        files[`${name}.br`] = brotliCompressSync(files[name], { params: { [constants.BROTLI_PARAM_SIZE_HINT]: files[name].length } });
    }
    return { ...files, ...(await declarations()) };
}

await mkdir(path.join(outdir, "locales"), { recursive: true });
for (const [name, content] of Object.entries(await make())) await writeFile(path.join(outdir, name), content);
