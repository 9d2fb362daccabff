"""The absolute-form of a request's target names an authority and the same path as the origin-form."""

import pytest

from incoming.wire.http.request_target import split_absolute


@pytest.mark.parametrize(
    ("target", "authority", "origin_form"),
    [
        ("http://example.org/a/b?c=d", "example.org", "/a/b?c=d"),
        ("HTTPS://example.org:8443/a", "example.org:8443", "/a"),
        ("http://[::1]:4000/", "[::1]:4000", "/"),
        ("http://example.org", "example.org", "/"),
        ("http://example.org?a=http://x/", "example.org", "/?a=http://x/"),
        ("http://example.org//a", "example.org", "//a"),
    ],
)
def test_the_absolute_form_is_split(target: str, authority: str, origin_form: str) -> None:
    assert split_absolute(target) == (authority, origin_form)


@pytest.mark.parametrize(
    "target",
    [
        "/a", "//example.org/a", "*", "example.org:80", "ftp://example.org/a", "http:///a", "http://u:p@example.org/a",
        "http://example.org/a#b", "/a?b=http://example.org/", "",
    ],
)  # fmt: skip
def test_other_forms_are_ignored(target: str) -> None:
    assert split_absolute(target) is None
