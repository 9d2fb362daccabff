"""Uppy with its tus plugin in a real Chromium, as doc/clients.md shows it, through a cut connection and a death."""

import json
import subprocess
from pathlib import Path

from playwright.sync_api import Page

from tests.support.tools import ROOT, require_node_package
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.page_app import PageApp
from tests.system.clients.snippets import snippet

PAGE = """<!DOCTYPE html>
<link rel="icon" href="data:,">
<input type="file" id="file">
<script src="uppy.js"></script>
<script>
const server = {server};
const newTicket = async () => {ticket};
{snippet}
document.getElementById("file").onchange = ({{ target }}) => {{
    uppy.addFile({{ name: target.files[0].name, data: target.files[0] }});
    uppy.upload();
}};
</script>
"""
ENTRY = 'import { Uppy } from "@uppy/core";\nimport Tus from "@uppy/tus";\nObject.assign(window, { Uppy, Tus });\n'


def bundle(directory: Path) -> str:
    """What a page loads of Uppy."""
    require_node_package("@uppy/tus")
    entry = directory / "entry.js"
    entry.write_text(ENTRY)
    (directory / "node_modules").symlink_to(ROOT / "node_modules")
    esbuild = require_node_package("esbuild") / "bin" / "esbuild"
    command = [str(esbuild), str(entry), "--bundle", "--format=iife", "--log-level=error"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory).stdout


def test_uppy_uploads_a_file(page: Page, app: PageApp, ordeal: Ordeal, tmp_path: Path) -> None:
    app.files["/page.html"] = PAGE.format(
        server=json.dumps(ordeal.origin), ticket=json.dumps(ordeal.ticket), snippet=snippet("uppy")
    )
    app.files["/uppy.js"] = bundle(tmp_path)
    page.goto(app.page_url + "page.html")
    with page.expect_console_message(lambda message: message.text == "arrived", timeout=120_000):
        page.set_input_files("#file", ordeal.file.path)
        ordeal.inflict(kill=True)
    ordeal.assert_survived()
