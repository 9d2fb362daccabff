"""destType and destKey: what the operator allows, and one line for everything else."""

import re

import pytest

from incoming.handlers.backend.destination import FILES_ONLY, Destinations
from incoming.settings.settings import load_settings

STORES = '{s3: {bucket: uploads, key_pattern: "[a-z/]+[.]mp4"}, archive: {bucket: archive}}'


def destinations(*options: str) -> Destinations:
    return Destinations.of(load_settings(["--object-stores", STORES, *options], {}))


def test_all_stores_are_allowed_unless_the_operator_says_otherwise() -> None:
    assert destinations().names == ("file", "s3", "archive")
    assert destinations("--dest-types", "s3,file").names == ("s3", "file")


@pytest.mark.parametrize(
    ("options", "text", "words"),
    [
        ((), "S3", "'S3' is none of those that this server allows: file, s3, archive; did you mean 's3'?"),
        ((), "ceph", "'ceph' is none of those that this server allows: file, s3, archive"),
        (("--dest-types", "s3"), "file", "'file' is none of those that this server allows: s3"),
    ],
)
def test_other_dest_types_are_refused(options: tuple[str, ...], text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        destinations(*options).dest_type(text)


def test_without_object_stores_there_are_only_files() -> None:
    with pytest.raises(ValueError, match="only 'file' is supported"):
        FILES_ONLY.dest_type("s3")


def test_a_key_within_the_pattern_is_taken() -> None:
    assert destinations().key("s3", "films/one.mp4") == "films/one.mp4"


@pytest.mark.parametrize(
    ("dest_type", "key", "words"),
    [
        ("file", "a.mp4", "only objects have a key, destType is 'file'"),
        ("archive", "a.mp4", "the operator of this server lets apps choose no keys in 'archive' (key_pattern)"),
        ("s3", "A.mp4", "it does not match the operator's key_pattern [a-z/]+[.]mp4"),
        ("s3", "/a.mp4", "it has an empty component"),
        ("s3", "a/../b.mp4", "'..'"),
        ("s3", "a\nb.mp4", "characters that cannot be printed"),
        ("s3", "parked/a.mp4", "it begins with parked/ or probe/, which the server uses"),
        ("s3", "a" * 1100 + ".mp4", "it has 1113 bytes with its prefix, the limit is 1024"),
    ],
)
def test_other_keys_are_refused(dest_type: str, key: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        destinations().key(dest_type, key)
