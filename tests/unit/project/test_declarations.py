"""The published TypeScript declarations, as the compiler of an application reads them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tools import ROOT, require_node_package, require_tool

DIST = ROOT / "incoming" / "js" / "dist"
FILES = (
    "incoming.js",
    "incoming.mjs",
    "incoming.d.ts",
    "incoming.d.mts",
    "incoming-uploader.mjs",
    "incoming-uploader.d.mts",
)

MODULE = """
import * as incoming from "./incoming.mjs";
import { Uploader, type UnfinishedUpload } from "./incoming.mjs";

declare const file: File;
const uploader: Uploader = new Uploader("ticket", file, { handle: null }).start();
const without_new: incoming.Uploader = incoming.Uploader("ticket", file);
uploader.onprogress = (seen) => console.log(seen.frac_complete.toFixed(), without_new.state_msg);
export const listed: UnfinishedUpload[] = incoming.unfinished();
const asking = incoming.Uploader(async (one, { path, signal }) => fetch(path + one.size, { signal }), file);
const left: number | null = asking.eta ?? asking.snapshot().next_try_in;
const queue: incoming.Queue = new incoming.Queue(() => "ticket", { concurrency: 2 });
queue.subscribe(({ uploads, frac_complete }) => console.log(uploads[0]?.state === "transferring", frac_complete, left));
export const added: Uploader[] = queue.add([file, { file, path: "a/b.txt" }]);
// @ts-expect-error a state that there is not
export const impossible: boolean = asking.state === "done";
// @ts-expect-error an option that a queue does not have
incoming.Queue(() => "ticket", { concurency: 2 });
// @ts-expect-error a property that is to be read only
uploader.bytes_acked = 5;
// @ts-expect-error a word that pause() does not take
uploader.pause("stop");
"""
ELEMENT = """
import { LANGUAGES, add_language } from "./incoming-uploader.mjs";

const element = document.createElement("incoming-uploader");
element.get_ticket = async (file, { signal }) => fetch("/ticket?" + file.name, { method: "POST", signal });
element.addEventListener("incoming-finished", ({ detail }) => console.log(detail.upload.path, LANGUAGES[0]));
add_language({ language: "tlh", pause: "yev", too_many: { other: "{count}" } });
export const tickets: readonly string[] = element.value;
// @ts-expect-error what the uploads decide
element.value = ["x"];
"""
GLOBAL = """
declare const file: File;
const uploader: incoming.Uploader = new incoming.Uploader("ticket", file);
uploader.onerror = (seen) => console.log(seen.error_code);
incoming.set_server_hostname("uploads.example.org");
// @ts-expect-error a function that there is not
incoming.set_server("uploads.example.org");
"""


def compile_application(folder: Path, resolution: str, sources: dict[str, str]) -> str:
    """Return what the compiler says, "" if it has nothing to say."""
    require_node_package("typescript")
    for name in FILES:
        shutil.copy(DIST / name, folder)
    for name, source in sources.items():
        (folder / name).write_text(source)
    options = {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "lib": ["es2022", "dom"],
        "types": [],
        "moduleResolution": resolution,
        "module": "node16" if resolution == "node16" else "esnext",
    }
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": options, "files": [*sources, "incoming.d.ts"]})
    )
    tsc = [require_tool("node"), str(ROOT / "node_modules" / "typescript" / "bin" / "tsc"), "--project", str(folder)]
    return subprocess.run(tsc, cwd=folder, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("resolution", ["bundler", "node16"])
def test_an_application_in_typescript_finds_the_types_of_the_module_and_of_the_global(
    resolution: str, tmp_path: Path
) -> None:
    sources = {
        "app.ts": MODULE,
        "element.ts": ELEMENT,
        "page.ts": GLOBAL + "export {};\n",
        "script.cts": GLOBAL.replace("uploader", "other"),
    }
    if resolution == "bundler":
        sources["script.ts"] = sources.pop("script.cts").replace("file", "one")
    assert compile_application(tmp_path, resolution, sources) == ""


def test_a_mistake_is_noticed(tmp_path: Path) -> None:
    found = compile_application(tmp_path, "node16", {"app.ts": MODULE.replace(".start()", ".begin()")})
    assert "Property 'begin' does not exist on type 'Uploader'" in found
