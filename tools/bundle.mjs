// Builds the files for browsers from the ES modules of incoming/js/:
//   incoming.js     classic script; its one global, `incoming`, holds what index.js exports
//   incoming.mjs    the same as an ES module
//   *.js.map, ...   the sources, as they are read in a browser's debugger
//   *.gz, *.br      both scripts compressed, as servers send them
//   incoming.d.ts   TypeScript declarations of the script and its global, kept by hand next to index.js
//   incoming.d.mts  the same for the module, without the global
//   incoming-uploader.mjs    the element, as a module that imports incoming.mjs; incoming-uploader.d.mts its declarations
//   incoming-transfer.mjs    what sends files, which incoming.mjs loads at once
//   incoming-direct.mjs      what sends parts straight to an object store, which incoming-transfer.mjs loads when a server offers it
//   incoming-details.mjs     the details of a row, which the element loads when they are opened
//   locales/de.mjs, ...      its language packs
// `node tools/bundle.mjs [DIR]` writes them to DIR (default incoming/js/dist). The same sources make the same files.
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build_element, build_locales, build_module, build_on_demand, build_small, declarations, files_of, library_options, source } from "./library_builds.mjs";

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

/** A classic script does not know its address where it is run later, so it has all in one file. */
const all_in_one = {
    name: "all in one",
    setup({ onLoad }) {
        onLoad({ filter: /pool\/direct_loader\.js$/ }, () => {
            return { contents: 'import { DirectSender } from "./direct_sender.js"; export const load_direct = async () => ({ DirectSender });' };
        });
        onLoad({ filter: /page\/transfer_module\.js$/ }, () => {
            const inside = "export const INSIDE = { BUILD, Transfer }; export const load_transfer = async () => INSIDE;";
            return { contents: `import { BUILD, Transfer } from "../session/transfer.js"; ${inside}` };
        });
    },
};

/** @returns {Promise<Record<string, Uint8Array | string>>} contents by name */
async function make() {
    const { exports, options } = await library_options();
    const script = build_small({
        ...options,
        stdin: { contents: classic(exports), resolveDir: source, sourcefile: "classic.js" },
        format: "iife",
        entryNames: "incoming",
        plugins: [all_in_one],
        logOverride: { "empty-import-meta": "silent" }, // index.js knows that a classic script has none
    });
    const others = [build_module(options), build_element(options), build_locales()];
    const files = files_of([...(await Promise.all([script, ...others])), ...(await build_on_demand(options))]);
    for (const name of Object.keys(files).filter((name) => /\.m?js$/.test(name))) {
        files[`${name}.gz`] = gzipSync(files[name], { level: 9 });
        files[`${name}.br`] = brotliCompressSync(files[name], { params: { [constants.BROTLI_PARAM_SIZE_HINT]: files[name].length } });
    }
    return { ...files, ...(await declarations()) };
}

await mkdir(path.join(outdir, "locales"), { recursive: true });
for (const [name, content] of Object.entries(await make())) await writeFile(path.join(outdir, name), content);
