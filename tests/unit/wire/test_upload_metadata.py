"""Further metadata of a file: in the tus protocol's syntax, as an object, and as sent to an app."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import BadRequest
from incoming.core.identity import MAX_MEDIA_TYPE, MAX_NAME
from incoming.wire.upload_metadata import MAX_BYTES, MAX_KEYS, UploadMetadata, as_object, from_json, parse, write


def told(**values: bytes) -> str:
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in values.items())


@pytest.mark.parametrize("header", ["", " ", "\t"])
def test_empty_metadata_is_accepted(header: str) -> None:
    assert parse(header) == UploadMetadata()
    assert as_object(None) == {}


@pytest.mark.parametrize("name", ["filename", "name"])
@pytest.mark.parametrize("kind", ["filetype", "type", "mimetype"])
def test_name_and_type_are_found_by_their_keys(name: str, kind: str) -> None:
    header = told(**{name: "größe.txt".encode(), kind: b"text/plain", "folder": b"7"})
    assert parse(header) == UploadMetadata("größe.txt", "text/plain", header)
    assert as_object(header) == {name: "größe.txt", kind: "text/plain", "folder": "7"}


def test_the_first_of_several_names_counts() -> None:
    header = told(name=b"second", filename=b"first", mimetype=b"c/d", type=b"a/b")
    assert parse(header) == UploadMetadata("first", "a/b", header)


def test_the_text_is_kept_unchanged() -> None:
    header = " is_public,name eA==, empty , relativePath bnVsbA=="
    assert parse(header).text == "is_public,name eA==, empty , relativePath bnVsbA=="
    assert as_object(parse(header).text) == {"is_public": "", "empty": "", "relativePath": "null", "name": "x"}


def test_invalid_utf_8_is_replaced() -> None:
    header = told(filename=b"\xff.txt", note=b"\xfe")
    assert parse(header).name == "\ufffd.txt"
    assert as_object(header) == {"filename": "\ufffd.txt", "note": "\ufffd"}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a YQ==,a Yg==", "'a' twice"),
        ("a YQ", "'a' in the metadata is not Base64"),
        ("a Y Q==", "not Base64"),
        ("a Y_-=", "not Base64"),
        ("a \u00e4", "not Base64"),
        ("\u00e4 YQ==", "not printable ASCII"),
        ("a YQ==,,b YQ==", "empty or not printable"),
        ("a YQ==,", "empty or not printable"),
    ],
)
def test_malformed_metadata_is_refused(header: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse(header)


def test_errors_name_value_and_limit() -> None:
    many = {f"k{number:02}": b"" for number in range(MAX_KEYS)}
    assert parse(told(filename=b"a", **many))
    with pytest.raises(BadRequest, match="33 keys besides name and type, the limit is 32"):
        parse(told(filename=b"a", one_more=b"", **many))
    assert parse(told(filename=b"a" * MAX_NAME, note=b"x" * (MAX_BYTES - 4)))
    with pytest.raises(BadRequest, match="4097 bytes besides name and type, the limit is 4096"):
        parse(told(note=b"x" * (MAX_BYTES - 3)))
    with pytest.raises(BadRequest, match="name has 1025 characters, the limit is 1024"):
        parse(told(name=b"a" * (MAX_NAME + 1)))
    assert parse(told(type=b"a" * 1000)).media_type == "a" * MAX_MEDIA_TYPE


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters=","), min_size=1, max_size=9),
        st.text(st.characters(codec="utf-8"), max_size=20),
        max_size=5,
    )
)
def test_an_object_is_returned_to_the_app_unchanged(metadata: dict[str, str]) -> None:
    assert as_object(write(metadata).text) == metadata


def test_an_empty_object_is_none() -> None:
    assert write({}) == UploadMetadata()


@pytest.mark.parametrize("key", ["", "a b", "a,b", "\u00e4", "a\n"])
def test_keys_that_cannot_be_written_are_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="not printable ASCII"):
        write({key: "x"})


def test_only_a_json_object_of_strings_is_accepted() -> None:
    assert from_json('{"a": "b"}') == {"a": "b"}
    for text in ("", "{", "[]", '{"a": 1}', '{"a": null}', "[" * 60000):
        with pytest.raises(BadRequest, match="JSON"):
            from_json(text)
