"""doc/examples.md shows the examples' own code, and all of their options."""

import re
import subprocess
import sys

import pytest

from tests.support.tools import ROOT
from tests.system.examples.example_app import BACKENDS

PAGE = (ROOT / "doc" / "examples.md").read_text()


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.promise(130)
def test_the_code_in_it_is_that_of_the_examples() -> None:
    _, first, second, third = re.split(r"^## Example \d: ", PAGE, flags=re.MULTILINE)
    for text, folder, least in ((first, "1-simple", 5), (second, "2-dynamic", 5), (third, "3-object-storage", 3)):
        files = [ROOT / "examples" / folder / "backend.py", *sorted((ROOT / "examples" / folder).glob("*_tmpl.html"))]
        source = squeezed("\n".join(path.read_text() for path in files))
        blocks = re.findall(r"^```(?:python|javascript|html)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert len(blocks) >= least
        for block in blocks:
            assert squeezed(block) in source, block


@pytest.mark.promise(127)
@pytest.mark.parametrize("number", [1, 2])
def test_all_options_are_in_it(number: int) -> None:
    command = [sys.executable, str(BACKENDS[number]), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    options = set(re.findall(r"--[a-z_]+", shown)) - {"--help"}
    in_table = set(re.findall(r"^\| `(--[a-z_]+)`", PAGE, re.MULTILINE))
    assert options == in_table - (set() if number == 2 else {"--delay"})


def test_all_variables_of_example_3_are_in_it() -> None:
    command = [sys.executable, str(ROOT / "examples" / "3-object-storage" / "backend.py"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    variables = set(re.findall(r"env var:\s+([A-Z_]+)", shown)) | {"AWS_ACCESS_KEY", "AWS_SECRET"}
    rows = re.findall(r"^\| (`[A-Z_]+`.*?) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`([A-Z_]+)`", " ".join(rows))) == variables


def test_its_files_exist() -> None:
    for path in re.findall(r"`(webapp/[\w./]+)`", PAGE):
        assert (ROOT / "examples" / path).is_file(), path
