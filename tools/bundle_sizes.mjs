// Shows what the modules for browsers are made of: `node tools/bundle_sizes.mjs` prints what each takes compressed, as a
// server sends it, and the minified bytes of each folder and file in it, the largest first. The latter are from before
// terser, which finds another twentieth.
import { build } from "esbuild";
import path from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build_small, element_options, library_options, module_options, on_demand_options, source } from "./library_builds.mjs";

const { options } = await library_options();

for (const how of [module_options(options), element_options(options), ...on_demand_options(options)]) {
    const { metafile } = await build({ ...how, metafile: true });
    const [name, { inputs }] = Object.entries(metafile.outputs).find(([file]) => file.endsWith(".mjs"));
    const files = Object.entries(inputs).map(([file, { bytesInOutput }]) => [file, bytesInOutput]);
    const folders = grouped(files);
    const [, { contents }] = (await build_small(how)).outputFiles;
    const compressed = [gzipSync(contents, { level: 9 }), brotliCompressSync(contents)].map((one) => one.length);
    console.log(`${path.basename(name)}: ${sum(files)}, gzip ${compressed[0]}, brotli ${compressed[1]}`);
    for (const [folder, members] of [...folders].sort(([, a], [, b]) => sum(b) - sum(a))) {
        console.log(`  ${path.relative(source, path.resolve(source, folder)) || "index.js"}: ${sum(members)}`);
        for (const [file, bytes] of members.sort(([, a], [, b]) => b - a)) console.log(`    ${path.basename(file)}: ${bytes}`);
    }
}

function sum(files) {
    return files.reduce((total, [, bytes]) => total + bytes, 0);
}

function grouped(files) {
    const folders = new Map();
    for (const one of files) folders.set(path.dirname(one[0]), [...(folders.get(path.dirname(one[0])) ?? []), one]);
    return folders;
}
