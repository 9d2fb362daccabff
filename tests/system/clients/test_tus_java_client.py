"""tus-java-client, as doc/clients.md shows it, through a cut connection, kills of the server and of the program."""

import subprocess
from pathlib import Path

import pytest

from tests.support.tools import ROOT, require_tool, unavailable
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.snippets import snippet
from tests.system.clients.test_programs import kill, running

pytestmark = pytest.mark.wide


@pytest.fixture
def command(ordeal: Ordeal, tmp_path: Path) -> list[str]:
    """The compiled snippet, with the file of the ordeal."""
    libraries = list((ROOT / ".wide").glob("tus-java-client-*.jar"))
    if not libraries:
        unavailable("tus-java-client is not installed: run make wide")
    program = tmp_path / "Send.java"
    program.write_text(snippet("tus-java-client"))
    path = f"{libraries[0]}:{tmp_path}"
    subprocess.run([require_tool("javac"), "-cp", path, "-d", str(tmp_path), str(program)], check=True)
    return [require_tool("java"), "-cp", path, "Send", str(ordeal.file.path), ordeal.tus_url]


@pytest.mark.promise(3)
def test_tus_java_client_survives_a_kill_of_the_server(ordeal: Ordeal, command: list[str]) -> None:
    with running(command) as process:
        ordeal.inflict(kill=True)
        assert process.wait(120) == 0
    ordeal.assert_survived()


def test_a_java_program_that_was_killed_continues_where_it_was(ordeal: Ordeal, command: list[str]) -> None:
    with running(command) as process:
        ordeal.wait_for_a_good_part()
        kill(process)
    with running(command) as process:
        assert process.wait(120) == 0
    ordeal.assert_survived()
    with running(command) as process:
        assert process.wait(120) == 0, "once more is harmless"
    ordeal.assert_survived()
