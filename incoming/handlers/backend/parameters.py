"""Parameters of the backend functions, from wherever a request carries them: query, form, multipart or JSON.

Decides how they are found and decoded. The body wins over the query, and of one name given several times the last.
Values are never stripped: a secret may begin with a space. Which names and values there may be is decided by
parameter_rules.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from tornado.httputil import (
    HTTPFile,
    HTTPInputError,
    HTTPServerRequest,
    ParseBodyConfig,
    ParseMultipartConfig,
    ParseUrlEncodedConfig,
    parse_body_arguments,
)

from incoming.core.errors import BadRequest, UnsupportedEncoding

MAX_BODY = 64 * 1024
"""Bytes of a body. The longest honest one, a URL, a secret and lists of origins and types, stays far below."""

OBJECT = "metadata"
"""The one parameter that may be an object of strings in a JSON body."""

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_LIMITS = ParseBodyConfig(
    multipart=ParseMultipartConfig(max_parts=100, max_part_header_size=1024),
    urlencoded=ParseUrlEncodedConfig(max_arguments=100),
)

Value = str | bool | int | list[str] | dict[str, str] | None
"""Text from a query or a form; from JSON also the other types."""

Parameters = Mapping[str, str]
"""By name, as text, after parameter_rules.py has checked them."""


def parameters(request: HTTPServerRequest, body: bytes) -> dict[str, Value]:
    """Return all that query and body contain. Raises BadRequest, or UnsupportedEncoding for a compressed body."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r} is not understood, only identity")
    found: dict[str, Value] = {**_last(request.query_arguments)}
    content_type = request.headers.get("Content-Type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return found
    if kind == "application/json":
        return {**found, **_from_json(body)}
    if kind not in (_FORM, _MULTIPART):
        raise BadRequest(f"a body is {_FORM}, {_MULTIPART} or application/json")
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(kind + content_type[len(kind) :], body, arguments, files, config=_LIMITS)
    except HTTPInputError as error:
        raise BadRequest(f"the body is not valid {kind}") from error
    # A part with a file name is a parameter all the same: some clients name every part.
    arguments |= {name: [file.body for file in several] for name, several in files.items()}
    return {**found, **_last(arguments)}


def _last(arguments: Mapping[str, list[bytes]]) -> dict[str, str]:
    return {name: _text(values[-1]) for name, values in arguments.items() if values}


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("a parameter is not valid UTF-8") from error


def _from_json(body: bytes) -> dict[str, Value]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not valid JSON") from error
    if not isinstance(content, dict):
        raise BadRequest("a JSON body is an object")
    return {name: _json_value(name, value) for name, value in content.items()}


def _texts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _json_value(name: str, value: Any) -> Value:
    texts = _texts(value)
    if name == OBJECT and isinstance(value, dict) and all(isinstance(text, str) for text in texts):
        pass
    elif not all(isinstance(text, str) for text in texts) or not isinstance(value, str | int | list | None):
        raise BadRequest(f"{name!r} in a JSON body is a string, an integer, true, false or a list of strings")
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRequest(f"{name!r} in the JSON body has half a surrogate pair") from error
    return cast(Value, value)
