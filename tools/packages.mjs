// Makes the npm package from the sources of incoming/js/ and from packages/incoming-upload/:
// `node tools/packages.mjs [DIR]` writes incoming-upload-<version>.tgz to DIR (default dist/) and its path to the standard
// output. The version is that of incoming/__init__.py. The same sources make the same archive.
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { LANGUAGES } from "../incoming/js/element/texts/languages.js";
import {
    build_element,
    build_locales,
    build_module,
    build_on_demand,
    declarations,
    files_of,
    library_beside,
    library_options,
    project_version,
    source,
} from "./library_builds.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const template = path.join(root, "packages", "incoming-upload");
const outdir = path.resolve(process.argv[2] ?? path.join(root, "dist"));

/** Bundlers see only imports of constant names. */
const packs_by_name = {
    name: "packs by name",
    setup({ onResolve, onLoad }) {
        onResolve({ filter: /^\.\/locales\// }, ({ path: name }) => ({ path: name, external: true }));
        onLoad({ filter: /element\/texts\/pack_loader\.js$/ }, () => {
            const loaders = LANGUAGES.map((name) => `${name}: () => import("./locales/${name}.mjs")`);
            return { contents: `const packs = { ${loaders} };\nexport const load_pack = (language) => packs[language]();` };
        });
    },
};

/** The modules for frameworks, by their source. */
const HOOKS = { queue_store: "store", react_hook: "react", vue_hook: "vue" };

const store_beside = {
    name: "store beside",
    setup: ({ onResolve }) => onResolve({ filter: /^\.\/queue_store\.js$/ }, () => ({ path: "./store.mjs", external: true })),
};

/** @param {import("esbuild").BuildOptions} options of `library_options` */
function build_hooks(options) {
    return build({
        ...options,
        entryPoints: Object.entries(HOOKS).map(([file, name]) => ({ in: path.join(source, "hooks", `${file}.js`), out: name })),
        format: "esm",
        outExtension: { ".js": ".mjs" },
        external: ["react", "vue"],
        plugins: [library_beside, store_beside],
    });
}

/** @returns {Promise<Record<string, string>>} declarations by name */
async function hook_declarations() {
    const files = {};
    for (const name of Object.values(HOOKS)) {
        const text = await readFile(path.join(source, "hooks", `${name}.d.ts`), "utf8");
        files[`${name}.d.mts`] = text.replace(/ from "\.\.?\/([\w-]+)\.js"/g, ' from "./$1.mjs"');
    }
    return files;
}

const PACK_TYPES = `import type { LanguagePack } from "../incoming.mjs";\n\ndeclare const pack: LanguagePack;\nexport default pack;\n`;

/**
 * @param {string} version by PEP 440
 * @returns {string} by Semantic Versioning
 */
function npm_version(version) {
    const [, release, kind, number] = /^(\d+\.\d+\.\d+)(?:(a|b|rc|\.dev)(\d+))?$/.exec(version) ?? [];
    if (!release) throw new Error(`version ${version} of incoming/__init__.py cannot be written for npm`);
    const kinds = { a: "alpha", b: "beta", rc: "rc", ".dev": "dev" };
    return kind ? `${release}-${kinds[kind]}.${number}` : release;
}

/** @returns {Promise<Record<string, Uint8Array | string>>} contents by name */
async function make() {
    const { options } = await library_options();
    const modules = [build_module(options), build_element(options, [packs_by_name]), build_hooks(options), build_locales()];
    const { name, ...about } = JSON.parse(await readFile(path.join(template, "package.json"), "utf8"));
    return {
        "incoming.js": await readFile(path.join(source, "dist", "incoming.js")),
        "incoming.js.map": await readFile(path.join(source, "dist", "incoming.js.map")),
        ...files_of([...(await Promise.all(modules)), ...(await build_on_demand(options))]),
        ...(await declarations()),
        ...(await hook_declarations()),
        "locales/pack.d.mts": PACK_TYPES,
        "package.json": JSON.stringify({ name, version: npm_version(await project_version()), ...about }, null, 4) + "\n",
    };
}

const folder = await mkdtemp(path.join(tmpdir(), "incoming-package-"));
try {
    await mkdir(path.join(folder, "locales"));
    await mkdir(outdir, { recursive: true });
    for (const [name, content] of Object.entries(await make())) await writeFile(path.join(folder, name), content);
    await cp(path.join(template, "README.md"), path.join(folder, "README.md"));
    await cp(path.join(root, "LICENSE"), path.join(folder, "LICENSE"));
    const pack = ["pack", folder, "--pack-destination", outdir, "--json", "--ignore-scripts"];
    const [{ filename }] = JSON.parse(execFileSync("npm", pack, { cwd: folder, encoding: "utf8" }));
    console.log(path.join(outdir, filename));
} finally {
    await rm(folder, { recursive: true });
}
