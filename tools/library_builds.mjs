// How the modules of incoming/js/ become files for browsers: what tools/bundle.mjs (the server's files) and tools/packages.mjs
// (the npm package) have in common.
import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { minify } from "terser";

export const source = fileURLToPath(new URL("../incoming/js/", import.meta.url));
const entry = path.join(source, "index.js");

/** The one place that has the project's version. */
export async function project_version() {
    const module = await readFile(path.join(source, "../__init__.py"), "utf8");
    const [, version] = /^__version__ = "([^"]+)"$/m.exec(module) ?? [];
    if (!version) throw new Error("incoming/__init__.py has no __version__");
    return version;
}

/** @type {import("esbuild").BuildOptions} */
export const shared = {
    absWorkingDir: source,
    outdir: path.join(source, "dist"), // also if it is written elsewhere: the maps name the sources from there
    bundle: true,
    charset: "utf8",
    target: "es2022",
    legalComments: "none",
    logLevel: "warning",
    minify: true,
    write: false,
};

/** Styles are text in a module, which esbuild leaves as it is. */
const smaller_styles = {
    name: "smaller styles",
    setup: ({ onLoad }) =>
        onLoad({ filter: /element\/parts\/styles\.js$/ }, async ({ path: file }) => {
            const { code } = await transform((await import(file)).CSS, { loader: "css", minify: true, charset: "utf8" });
            return { contents: (await readFile(file, "utf8")).replace(/`[^`]*`/, () => JSON.stringify(code.trim())) };
        }),
};

/** Every other module shares the library with the page's own code. */
export const library_beside = {
    name: "library beside",
    setup: ({ onResolve }) => onResolve({ filter: /^(\.\.\/)+index\.js$/ }, () => ({ path: "./incoming.mjs", external: true })),
};

/**
 * What a page does not need at first is a module of its own, by its source: what sends files is loaded at once after the
 * library, the others when they are needed.
 */
const ON_DEMAND = {
    "element/parts/diagnosis_panel": "incoming-details",
    "pool/direct_sender": "incoming-direct",
    "session/transfer": "incoming-transfer",
};

const on_demand_beside = {
    name: "on demand beside",
    setup: ({ onResolve }) =>
        Object.entries(ON_DEMAND).forEach(([file, name]) =>
            onResolve({ filter: new RegExp(`/${path.basename(file)}\\.js$`) }, ({ kind }) =>
                kind === "dynamic-import" ? { path: `./${name}.mjs`, external: true } : undefined,
            ),
        ),
};

/** The exports of the library, and the options of a build with a banner, a map, and a name for the sources in it. */
export async function library_options() {
    const { metafile, outputFiles } = await build({ ...shared, minify: false, entryPoints: [entry], format: "esm", metafile: true });
    const [{ exports }] = Object.values(metafile.outputs);
    const contents = createHash("sha256").update(outputFiles[0].contents).digest("hex").slice(0, 16);
    const options = {
        ...shared,
        banner: { js: "/*! Incoming!! browser library, MIT licence */" },
        sourcemap: /** @type {const} */ ("linked"),
        define: { __BUILD__: JSON.stringify(contents), __VERSION__: JSON.stringify(await project_version()) },
    };
    return { exports, options };
}

/**
 * Build and make it smaller: esbuild leaves a twentieth that terser finds.
 * @param {import("esbuild").BuildOptions} options with a map
 * @returns {Promise<import("esbuild").BuildResult>}
 */
export async function build_small(options) {
    // White space is left to terser: without it esbuild drops the comments in `import()`, too.
    const result = await build({ ...options, minify: false, minifySyntax: true, minifyIdentifiers: true });
    const [map, code] = result.outputFiles ?? [];
    const sourceMap = { content: map.text, includeSources: true, url: path.basename(map.path) };
    const module = options.format === "esm";
    const compress = { passes: 3 };
    // Also the comments that keep bundlers from what they cannot resolve.
    const format = { comments: /^!|@vite-ignore|webpackIgnore/ };
    const how = { module, toplevel: true, ecma: /** @type {const} */ (2020), compress, format };
    const small = await minify(code.text, { ...how, sourceMap });
    const contents = (/** @type {unknown} */ text) => new TextEncoder().encode(`${text}\n`);
    return { ...result, outputFiles: [{ ...map, contents: contents(small.map) }, { ...code, contents: contents(small.code) }] };
}

/** @param {import("esbuild").BuildOptions} options of `library_options` */
export function module_options(options) {
    return { ...options, entryPoints: [entry], ...module_named("incoming"), plugins: [on_demand_beside] };
}

/** @param {import("esbuild").BuildOptions} options of `library_options` */
export function build_module(options) {
    return build_small(module_options(options));
}

/**
 * @param {import("esbuild").BuildOptions} options of `library_options`
 * @param {import("esbuild").Plugin[]} plugins
 */
export function element_options(options, plugins = []) {
    const entryPoints = [path.join(source, "element", "index.js")];
    const beside = [library_beside, on_demand_beside, smaller_styles];
    return { ...options, entryPoints, ...module_named("incoming-uploader"), plugins: [...beside, ...plugins] };
}

/**
 * @param {import("esbuild").BuildOptions} options of `library_options`
 * @param {import("esbuild").Plugin[]} plugins
 */
export function build_element(options, plugins = []) {
    return build_small(element_options(options, plugins));
}

/**
 * The modules that library and element load on demand.
 * @param {import("esbuild").BuildOptions} options of `library_options`
 */
export function on_demand_options(options) {
    return Object.entries(ON_DEMAND).map(([file, name]) => {
        const entryPoints = [path.join(source, `${file}.js`)];
        return { ...options, entryPoints, ...module_named(name), plugins: [on_demand_beside] };
    });
}

/** @param {import("esbuild").BuildOptions} options of `library_options` */
export function build_on_demand(options) {
    return Promise.all(on_demand_options(options).map(build_small));
}

/** @param {string} entryNames */
function module_named(entryNames) {
    return { format: /** @type {const} */ ("esm"), entryNames, outExtension: { ".js": ".mjs" } };
}

/** The language packs. */
export async function build_locales() {
    const packs = (await readdir(path.join(source, "locales"))).map((name) => path.join(source, "locales", name));
    return build({ ...shared, entryPoints: packs, ...module_named("locales/[name]") });
}

/** @param {string} declarations of the script, with the global */
function module_declarations(declarations) {
    const module = declarations.replace(/\n\/\/ --- the global -+\n[\s\S]*$/, "");
    if (module === declarations) throw new Error("incoming.d.ts has no section about the global");
    return module;
}

/** Declarations of script, module and element. */
export async function declarations() {
    const script = await readFile(path.join(source, "incoming.d.ts"), "utf8");
    const element = await readFile(path.join(source, "incoming-uploader.d.ts"), "utf8");
    return {
        "incoming.d.ts": script,
        "incoming.d.mts": module_declarations(script),
        "incoming-uploader.d.mts": element.replace('"./incoming.js"', '"./incoming.mjs"'),
    };
}

/**
 * @param {import("esbuild").BuildResult[]} results
 * @returns {Record<string, Uint8Array | string>} contents by name
 */
export function files_of(results) {
    const outputs = results.flatMap(({ outputFiles }) => outputFiles ?? []);
    return Object.fromEntries(outputs.map(({ path: name, contents }) => [path.relative(String(shared.outdir), name), contents]));
}
