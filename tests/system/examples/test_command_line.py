"""The examples' options and their defaults."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tools import ROOT
from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import BACKENDS
from tests.system.examples.fake_incoming import FakeIncoming


def run(number: int, *options: str, directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BACKENDS[number]), *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.promise(113, 127, 130)
@pytest.mark.parametrize("number", [1, 2])
def test_help_lists_every_option(number: int) -> None:
    shown = run(number, "--help")
    assert shown.returncode == 0
    for option in ("public_incoming_host", "internal_incoming_host", "public_app_host", "internal_app_host", "port"):
        assert f"--{option} " in shown.stdout
    assert f"[default: {4000 + number};" in shown.stdout
    assert "[default: localhost:4000]" in shown.stdout
    assert "0.0.0.0" in shown.stdout
    assert ("--delay" in shown.stdout) == (number == 2)


@pytest.mark.promise(127)
@pytest.mark.parametrize("option", ["--public_incoming_host", "--public-incoming-host"])
@pytest.mark.parametrize("number", [1, 2])
def test_options_take_underscores_and_dashes(start_example: StartExample, number: int, option: str) -> None:
    app = start_example(number, option, "files.example.org", "--public-app-host", "app.example.org")
    assert 'src="http://files.example.org/incoming/0.1/frontend/incoming' in app.get("/").text
    assert "http://app.example.org/" in app.log


@pytest.mark.promise(127)
def test_an_app_that_cannot_listen_prints_the_reason(start_example: StartExample, tmp_path: Path) -> None:
    app = start_example(1)
    second = run(1, "--address", "127.0.0.1", "--port", str(app.port), directory=tmp_path)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{app.port}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.promise(127)
@pytest.mark.parametrize("number", [1, 2])
def test_the_backend_token_is_sent(start_example: StartExample, incoming: FakeIncoming, number: int) -> None:
    app = start_example(number, "--backend_token", "a token")
    app.get("/" if number == 1 else "/api/frontend/request_upload?filename=x")
    assert incoming.calls[0].headers["authorization"] == "Bearer a token"


@pytest.mark.promise(129)
def test_what_is_listed_for_pip_is_enough() -> None:
    imported = set()
    # The example with an object store needs the server's extra s3, which brings botocore.
    own = {"webapp", "incoming", "botocore"} | {path.stem for path in (ROOT / "examples").rglob("*.py")}
    for path in (ROOT / "examples").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                imported.add(node.module.partition(".")[0])
    lines = (ROOT / "examples" / "pip-req.txt").read_text().split()
    listed = {line.partition(">")[0] for line in lines}
    # The README's application, which is run in the same environment, uses requests.
    assert imported - sys.stdlib_module_names - own | {"requests"} == listed
