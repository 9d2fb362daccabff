"""Parse the JSON objects that clients send, strictly: no duplicate keys, no constants outside JSON, bounded fields.

Decides what is a well-formed object and field; does not know which fields a message has.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from incoming.core.errors import BadRequest, MessageTooLarge

MAX_CONTROL = 16 * 1024
"""Bytes of a control message from a client. The longest valid one, a hello with a 1,024-character name, is far shorter.
"""


def read_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_CONTROL or len(text.encode("utf-8", "surrogatepass")) > MAX_CONTROL:
        raise MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes")
    try:
        message = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("a control message is not valid JSON") from error
    if not isinstance(message, dict):
        raise BadRequest("a control message is a JSON object")
    return message


def text_field(message: dict[str, Any], key: str, limit: int, default: str | None = None) -> str:
    value = message.get(key, default)
    if not isinstance(value, str):
        raise BadRequest(f"'{key}' is missing or not a string")
    if len(value) > limit:
        raise BadRequest(f"'{key}' has {len(value)} characters, the limit is {limit}")
    # JSON can have a lone surrogate, which no database, header or form accepts; it becomes U+FFFD.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def integer_field(message: dict[str, Any], key: str, limit: int) -> int | None:
    value = message.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= limit:
        raise BadRequest(f"'{key}' is not an integer from 0 to {limit}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("duplicate key")
    return unique


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
