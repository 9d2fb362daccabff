"""Files of known content."""

import hashlib
from pathlib import Path

import pytest

from tests.support.known_files import make_file, make_sparse_file


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_has_the_size_and_the_checksum_that_it_says(tmp_path: Path, size: int) -> None:
    made = make_file(tmp_path / "a", size)
    content = made.path.read_bytes()
    assert len(content) == made.size == size
    assert hashlib.sha256(content).hexdigest() == made.sha256
    assert made.read(size // 2, size) == content[size // 2 :]


def test_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    checksums = [make_file(tmp_path / "a", 100_000, seed).sha256 for seed in (1, 1, 2)]
    assert checksums[0] == checksums[1] != checksums[2]


def test_no_two_blocks_are_equal(tmp_path: Path) -> None:
    made = make_file(tmp_path / "a", 5 << 20)
    assert len({made.read(start, start + (1 << 20)) for start in range(0, made.size, 1 << 20)}) == 5


def test_sparse_file_takes_no_disk_and_has_marks_where_offsets_break(tmp_path: Path) -> None:
    size = (4 << 30) + 12_345
    made = make_sparse_file(tmp_path / "a", size)
    assert made.path.stat().st_size == size
    assert made.path.stat().st_blocks * 512 < 1 << 20
    for place in (0, 2 << 30, (4 << 30) - 8, 4 << 30, size - 8):
        assert any(made.read(place, place + 8)), f"no mark at {place}"
    assert not any(made.read(1000, 2000))
