"""What is decided of a request before its first byte is stored, the same for every way of sending."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders

from incoming.core.errors import FormRefused, UnsupportedEncoding

FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
"""Types of bodies that wrap or escape the file's bytes: what HTML forms, FormData and `curl -F` or `-d` send."""


def check_is_file(headers: HTTPHeaders, length: int | None) -> None:
    """Raise UnsupportedEncoding or FormRefused for a body whose bytes are not those of the file.

    `length` is the body's, None if it is not known; an empty body is an empty file in whatever type.
    """
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding {headers['Content-Encoding']!r}: only identity is taken")
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type in FORMS and length != 0:
        raise FormRefused(
            f"the body is a form ({media_type}); send the file's bytes as they are, with another Content-Type "
            "(curl: -T FILE instead of -F or -d)"
        )
