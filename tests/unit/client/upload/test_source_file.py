"""A file is sent only for as long as it is the one that was opened."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from incoming.client.upload import source_file
from incoming.client.upload.source_file import SourceChanged, SourceFile, sampled
from tests.support.known_files import make_file
from tests.support.tools import ROOT, require_tool


def test_it_is_read_in_any_order_by_many_threads(tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", 300_000)
    source = SourceFile(file.path)
    parts: dict[int, bytes] = {}
    spans = [(start, min(start + 7000, file.size)) for start in range(0, file.size, 7000)]
    threads = [
        threading.Thread(target=lambda s=start, e=end: parts.update({s: source.read(s, e)})) for start, end in spans
    ]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(parts[start] for start, _ in spans) == file.path.read_bytes()
    source.close()
    source.close()


@pytest.mark.parametrize("change", ["written", "shorter", "longer", "touched"])
def test_a_change_is_noticed_by_the_next_read(tmp_path: Path, change: str) -> None:
    path = make_file(tmp_path / "file", 10_000).path
    os.utime(path, (1_700_000_000, 1_700_000_000))
    source = SourceFile(path)
    source.read(0, 100)
    with path.open("r+b") as file:
        if change == "written":
            file.write(b"changed")
        elif change == "shorter":
            file.truncate(9_000)
        elif change == "longer":
            file.truncate(11_000)
    if change == "touched":
        os.utime(path)
    with pytest.raises(SourceChanged, match="file"):
        source.read(9_500, 10_000)
    source.close()


def test_a_file_that_is_replaced_stays_the_one_that_was_opened(tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", 1000)
    content = file.path.read_bytes()
    source = SourceFile(file.path)
    make_file(tmp_path / "new", 1000, seed=2).path.rename(file.path)
    assert source.read(0, 1000) == content
    source.close()


def test_a_file_that_was_just_written_is_looked_at_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    found = path.stat()
    monkeypatch.setattr(source_file.time, "time", lambda: found.st_mtime + 0.001)
    slept: list[float] = []

    def write(seconds: float) -> None:
        slept.append(seconds)
        path.write_bytes(b"newer")

    monkeypatch.setattr(source_file.time, "sleep", write)
    source = SourceFile(path)
    assert (slept, source.size, source.read(0, 5)) == ([source_file.MTIME_RESOLUTION], 5, b"newer")
    source.close()


def test_only_regular_files_are_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ValueError, match="is no regular file"):
            SourceFile(path)
    with pytest.raises(FileNotFoundError):
        SourceFile(tmp_path / "none")


def test_what_identifies_it(tmp_path: Path) -> None:
    path = make_file(tmp_path / "film.mp4", 1000).path
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    source = SourceFile(path)
    identity = source.identity
    assert (identity.name, identity.size, identity.last_modified) == ("film.mp4", 1000, 1_700_000_000_123)
    assert identity.media_type == "video/mp4"
    source.close()
    source = SourceFile(path, name="other.bin")
    assert source.identity.name == "other.bin"
    source.close()


@pytest.mark.parametrize("size", [0, 1, 163_840, 163_841, 200_001, 5_000_003])
def test_the_browser_library_makes_the_same_fingerprint(tmp_path: Path, size: int) -> None:
    """So a page can continue what the command has begun."""
    path = make_file(tmp_path / "file", size).path
    script = (
        f'import {{ fingerprint }} from "{ROOT}/incoming/js/file/fingerprint.js";'
        'import { readFileSync } from "node:fs";'
        "const bytes = new Uint8Array(readFileSync(process.argv[1]));"
        "const read = async (start, end) => bytes.subarray(start, end);"
        "console.log(JSON.stringify(await fingerprint({ size: bytes.length, read }, null)));"
    )
    command = [require_tool("node"), "--input-type=module", "--eval", script, str(path)]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    source = SourceFile(path)
    assert source.identity.fingerprint == theirs
    source.close()


def test_samples_of_a_large_file_are_few() -> None:
    ranges = list(sampled(200 * 10**9))
    assert ranges[0] == (0, 65536)
    assert ranges[-1] == (200 * 10**9 - 65536, 200 * 10**9)
    assert sum(end - start for start, end in ranges) == 163_840
