// Makes what browsers load from the ES modules of incoming/js/:
//   incoming.js    classic script; its one global, `incoming`, holds what index.js exports
//   incoming.mjs   the same as an ES module
//   incoming.d.ts  TypeScript declarations of both, kept by hand next to index.js
// `node tools/bundle.mjs [DIR]` writes them to DIR (default incoming/js/dist).
import { copyFile, mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const source = fileURLToPath(new URL("../incoming/js/", import.meta.url));
const outdir = path.resolve(process.argv[2] ?? path.join(source, "dist"));

const shared = {
    entryPoints: [path.join(source, "index.js")],
    absWorkingDir: source,
    bundle: true,
    charset: "utf8",
    target: "es2022",
    legalComments: "none",
    banner: { js: "/*! Incoming!! browser library, MIT licence */" },
    logLevel: "warning",
};

await mkdir(outdir, { recursive: true });
await build({
    ...shared,
    format: "iife",
    globalName: "incoming",
    outfile: path.join(outdir, "incoming.js"),
    logOverride: { "empty-import-meta": "silent" }, // index.js knows that a classic script has none
});
await build({ ...shared, format: "esm", outfile: path.join(outdir, "incoming.mjs") });
await copyFile(path.join(source, "incoming.d.ts"), path.join(outdir, "incoming.d.ts"));
