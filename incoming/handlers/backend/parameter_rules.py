"""Which parameters each backend function takes, and what is wrong with those that were given.

Decides that a parameter that was given counts: one that is empty, null or of the wrong JSON type is refused instead of
being replaced by the default, because PHP makes "" of false, and null is a variable that was never set. Unknown names
and dubious secrets are warnings. What a value means is decided by ticket_options.py.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from incoming.core.errors import BadParameter
from incoming.handlers.backend.parameters import OBJECT, Parameters, Value

SECRET = "backendSecret"  # noqa: S105 - names of parameters
OLD_SECRET = "signalFinishSecret"  # noqa: S105
OLDEST_SECRET = "secret"  # noqa: S105

MAX_WARNINGS = 5
"""Unknown parameters that are named; more are counted."""

UNSET = frozenset({"undefined", "null", "none", "nil", "nan", "false"})
"""What the text of a variable without a value is in some language: as a secret, everybody can guess it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One parameter: the JSON types that it may have besides a string, in words, and whether it may be empty."""

    wanted: str
    json_types: tuple[type, ...] = ()
    is_required: bool = False
    may_be_empty: bool = False


TEXT = Rule("a string")
REQUIRED = Rule("a string", is_required=True)
SECRET_TEXT = Rule("a string", (int,), may_be_empty=True)
"""An upload may have no secret, and callbacks then carry an empty one, which apps send back."""
SIZE = Rule("a string or an integer", (int,))
FLAG = Rule("true or false", (bool, int))
LIST = Rule("a string or a list of strings", (list,))
STRINGS = Rule("an object of strings", (dict,))

Rules = Mapping[str, Rule]

NEW_UPLOAD: Rules = {
    "signalFinishURL": REQUIRED,
    "signalFinishFormat": TEXT,
    "destType": TEXT,
    "destKey": TEXT,
    "removeFileWhenFinished": FLAG,
    SECRET: SECRET_TEXT,
    OLD_SECRET: SECRET_TEXT,
    "maxSize": SIZE,
    "maxRate": SIZE,
    "allowedOrigins": LIST,
    "allowedTypes": LIST,
    "testCallback": FLAG,
    "fileSize": SIZE,
    "fileName": TEXT,
    "mediaType": TEXT,
    OBJECT: STRINGS,
    "digest": TEXT,
    "count": SIZE,
    "direct": FLAG,
}
ABOUT_UPLOAD: Rules = {
    "id": REQUIRED,
    SECRET: SECRET_TEXT,
    OLD_SECRET: SECRET_TEXT,
    OLDEST_SECRET: SECRET_TEXT,
}


def checked(given: Mapping[str, Value], rules: Rules) -> Parameters:
    """Return the known parameters as text. Raises BadParameter for one that is empty, null or of the wrong type."""
    return {name: _text(name, given[name], rule) for name, rule in rules.items() if name in given}


def _text(name: str, value: Value, rule: Rule) -> str:
    instead = "" if rule.is_required else "; leave it out for the default"
    if value is None:
        raise BadParameter(f"{name} invalid: it is null{instead}")
    if isinstance(value, str):
        text = value
    elif type(value) in rule.json_types:
        text = _flat(value)
    else:
        kind = {bool: str(value).lower(), int: "a number", list: "a list", dict: "an object"}[type(value)]
        raise BadParameter(f"{name} invalid: it is {kind}, not {rule.wanted}")
    if not text and not rule.may_be_empty:
        raise BadParameter(f"{name} invalid: it is empty{instead}")
    return text


def _flat(value: Value) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict) else str(value).lower()


def warnings(given: Mapping[str, Value], rules: Rules) -> list[str]:
    """Return what the caller should know although the call is carried out; printable ASCII, secrets not among it."""
    found = []
    if rules is NEW_UPLOAD:
        found = [text for name in (SECRET, OLD_SECRET) for text in _about_secret(name, given.get(name))]
    unknown = [name for name in given if name not in rules]
    found += [f"unknown parameter {_quoted(name)}{_hint(name, rules)}" for name in unknown[:MAX_WARNINGS]]
    if len(unknown) > MAX_WARNINGS:
        found.append(f"{len(unknown) - MAX_WARNINGS} more unknown parameters")
    return found


def _about_secret(name: str, value: Value) -> list[str]:
    if value == "":
        return [f"{name} is empty: callbacks are not signed, and cancel_upload and finish_upload need no secret"]
    if isinstance(value, str) and value.lower() in UNSET:
        return [f"{name} is the text of a variable without a value; everybody can guess it"]
    return []


def _hint(name: str, rules: Rules) -> str:
    by_lower = {known.lower(): known for known in rules}
    plain = name.lower().replace("_", "").replace("-", "")
    close = difflib.get_close_matches(plain, by_lower, n=1, cutoff=0.75)
    return f"; did you mean {_quoted(by_lower[close[0]])}?" if close else ""


def _quoted(name: str) -> str:
    shown = ascii(name if len(name) <= 60 else name[:60] + "...")[1:-1]
    return '"' + shown.replace('"', "'") + '"'
