// Makes a script for a page from the snippets of doc/frameworks.md: `node frameworks.mjs FRAMEWORK` writes it to standard
// output. It defines `mount(ticket, file)`, which shows an upload in the page by that framework.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { build } from "esbuild";
import { compile } from "svelte/compiler";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const [, , framework] = process.argv;
const section = readFileSync(path.join(root, "doc/frameworks.md"), "utf8").split(`\n## ${framework}\n`)[1].split("\n## ")[0];
const snippet = (language) => section.split("```" + language + "\n")[1].split("```")[0];

const MOUNT = {
    React: () => `${snippet("js")}${snippet("jsx")}
        import { StrictMode, createElement } from "react";
        import { createRoot } from "react-dom/client";
        globalThis.mount = (ticket, file) =>
            createRoot(place()).render(createElement(StrictMode, null, createElement(Upload, { ticket, file })));`,
    Vue: () => `${snippet("js")}
        import { createApp, h } from "vue";
        const setup = ({ ticket, file }) => {
            const { uploader, state } = useUploader(ticket, file);
            return () => h("p", [
                h("output", state.value.state_msg),
                h("button", { disabled: !state.value.can_cancel, onClick: () => uploader.cancel() }),
            ]);
        };
        globalThis.mount = (ticket, file) => createApp({ props: ["ticket", "file"], setup }, { ticket, file }).mount(place());`,
    Svelte: () => `
        import { mount } from "svelte";
        import Upload from "./Upload.svelte";
        globalThis.mount = (ticket, file) => void mount(Upload, { target: place(), props: { ticket, file } });`,
    Alpine: () => `${snippet("js")}
        globalThis.mount = (ticket, file) => {
            Object.assign(globalThis, { ticket, file });
            place().innerHTML = ${JSON.stringify(snippet("html"))};
            Alpine.start();
        };`,
};

const svelte = {
    name: "svelte",
    setup({ onResolve, onLoad }) {
        onResolve({ filter: /^\.\/Upload\.svelte$/ }, () => ({ path: "Upload.svelte", namespace: "snippet" }));
        onLoad({ filter: /.*/, namespace: "snippet" }, () => ({
            contents: compile(snippet("svelte"), { generate: "client", filename: "Upload.svelte" }).js.code,
            resolveDir: root,
        }));
    },
};

const contents = `const place = () => document.body.appendChild(document.createElement("div"));\n${MOUNT[framework]()}`;
const { outputFiles } = await build({
    stdin: { contents, resolveDir: root, loader: "jsx" },
    bundle: true,
    write: false,
    format: "iife",
    charset: "utf8",
    jsx: "automatic",
    conditions: ["browser", "development"],
    define: { "process.env.NODE_ENV": '"development"' },
    plugins: [svelte],
    logLevel: "warning",
});
process.stdout.write(outputFiles[0].text);
