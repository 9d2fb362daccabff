"""The applications of doc/frameworks.md: its files, with what the frameworks' own tools would have made around them."""

import re
from pathlib import Path

from tests.support.app_stub import Answer, Callback
from tests.support.tools import ROOT
from tests.system.e2e.upload_app import UploadApp
from tests.system.packages.project import Project

PAGE = (ROOT / "doc" / "frameworks.md").read_text()
FILES = dict(re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
"""What the page shows, by path; the first folder is the framework."""

SERVER = """
import { set_server_hostname } from "incoming-upload";
set_server_hostname(new URLSearchParams(location.search).get("server") ?? "");
"""
"""Tests say in the page's query where the server is, which the pages are not asked to know."""

INDEX = '<!DOCTYPE html><html lang="en"><title>Films</title><div id="app"></div>%s</html>'

AROUND: dict[str, dict[str, str]] = {
    "react": {
        "index.html": INDEX % '<script type="module" src="/src/main.tsx"></script>',
        "vite.config.js": 'import react from "@vitejs/plugin-react";\nexport default { plugins: [react()] };\n',
        "src/server.ts": SERVER,
        "src/main.tsx": """
import "./server";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useIncoming } from "incoming-upload/react";
import { Control } from "./Control";
import { Films } from "./Films";
import { films } from "./films";

function Shared() {
    const { state, queue } = useIncoming(films);
    return (
        <>
            <input type="file" onChange={(event) => queue.add(event.target.files ?? [])} />
            <output>{state.uploads.map(({ state_msg }) => state_msg)}</output>
        </>
    );
}

const pages = { films: Films, shared: Shared, control: Control };

function App() {
    const [shown, set_shown] = useState(true);
    const Page = pages[(new URLSearchParams(location.search).get("page") ?? "films") as keyof typeof pages];
    return (
        <>
            <button id="toggle" onClick={() => set_shown(!shown)} />
            {shown && <Page />}
        </>
    );
}

createRoot(document.querySelector("#app")!).render(<StrictMode><App /></StrictMode>);
""",
    },
    "vue": {
        "index.html": INDEX % '<script type="module" src="/src/main.js"></script>',
        "src/main.js": SERVER
        + """
import "incoming-upload/element";
import { createApp } from "vue";
import Films from "./Films.vue";
import App from "./App.vue";

createApp(new URLSearchParams(location.search).get("page") === "control" ? App : Films).mount("#app");
""",
        "src/App.vue": '<template><incoming-uploader ticket-url="/ticket"></incoming-uploader></template>\n',
    },
    "svelte": {
        "svelte.config.js": """
import adapter from "@sveltejs/adapter-static";
export default { kit: { adapter: adapter() } };
""",
        "vite.config.js": """
import { sveltekit } from "@sveltejs/kit/vite";
export default { plugins: [sveltekit()] };
""",
        "src/app.html": "<!DOCTYPE html><html><head>%sveltekit.head%</head><body>%sveltekit.body%</body></html>\n",
        "src/routes/+layout.js": "export const prerender = true;\n",
        "src/hooks.client.js": SERVER,
    },
    "alpine": {
        "index.html": FILES["alpine/index.html"].replace("/main.js", "/start.js"),
        "start.js": SERVER + 'import "./main.js";\n',
    },
}

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
}


def write(project: Project, framework: str) -> None:
    """Write the application's files into the project."""
    shown = {path.partition("/")[2]: content for path, content in FILES.items() if path.startswith(f"{framework}/")}
    assert shown
    for name, content in (shown | AROUND.get(framework, {})).items():
        project.write(name, content)


def build(project: Project, framework: str) -> Path:
    """Build the application with Vite; the folder with the pages."""
    write(project, framework)
    project.run_tool("vite", "build", "--logLevel", "warn")
    return project.folder / ("build" if framework == "svelte" else "dist")


class BuiltApp(UploadApp):
    """Answers a GET with a file of `folder`, a POST to /ticket with a ticket, whose parameters are `terms`."""

    def __init__(self, backend: str, folder: Path, **others: object) -> None:
        super().__init__(backend, **others)
        self.folder = folder
        self.tickets: dict[str, str] = {}
        """By the name of the file."""
        self.terms: dict[str, str] = {}

    def answer(self, callback: Callback) -> Answer:
        if callback.path == "/ticket":
            ticket = self.new_ticket(**self.terms)
            self.tickets[callback.params["filename"]] = ticket
            return Answer(200, ticket, {"Content-Type": "text/plain"})
        if callback.method != "GET":
            return super().answer(callback)
        path = self.folder / (callback.path.lstrip("/") or "index.html")
        if not path.is_file():
            return Answer(404, "")
        return Answer(200, path.read_text(), {"Content-Type": TYPES.get(path.suffix, "text/plain; charset=utf-8")})
