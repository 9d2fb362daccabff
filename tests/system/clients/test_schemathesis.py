"""Schemathesis reads the server's OpenAPI document and looks for answers that are not as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer

PROGRAM = str(Path(sys.executable).with_name("schemathesis"))
# Not asked for: that what fits the schema is accepted (a schema cannot say which tickets there are, nor what a host is)
# and that `Allow` has the document's methods alone (other protocols share the upload's URL).
NOT_ASKED = "positive_data_acceptance,allow_header_conformance"
# A status request that waits would only take time; and 413 is a refusal, too.
CONFIGURATION = """
[parameters]
"query.wait" = 0
[checks.negative_data_rejection]
expected-statuses = [400, 403, 404, 405, 413, 415]
"""


@pytest.mark.slow
def test_answers_are_as_the_document_says(server: IncomingServer, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command = [PROGRAM, "--no-color", "run", f"{server.base_url}/incoming/0.1/openapi.json", "-n", "5", "--seed", "1"]
    command += ["--exclude-checks", NOT_ASKED, "-H", "Accept: application/json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout
    [(generated, passed)] = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated == passed
    assert int(passed) > 100
    assert "2 covered / 2 selected / 2 total" in done.stdout, "tickets that it got were used"
