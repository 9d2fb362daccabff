"""The OpenAPI document says what the code does."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
import pytest

import incoming
from incoming.callbacks import answer, payload
from incoming.core.errors import TABLE, UnknownTicket
from incoming.core.ticket import Callback, Identity, Location, State, Ticket, TicketOptions
from incoming.core.ticket_options import FORMATS
from incoming.handlers.backend.parameter_rules import ABOUT_UPLOAD, NEW_UPLOAD, Rules
from incoming.handlers.backend.ticket_options import MAX_COUNT, MAX_ITEMS, MAX_SECRET, MAX_URL
from incoming.handlers.openapi import document
from incoming.handlers.routes import PREFIX, ROUTES
from incoming.wire import messages
from incoming.wire.messages import MAX_MEDIA_TYPE, MAX_NAME, MAX_SIZE, Limits

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
NAMES = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
UPLOAD = Ticket(
    "2881cbe7-d4d9-4593-80dd-6691e7fa9dd1",
    TicketOptions("http://app/", "s", traceparent=f"00-{'1' * 32}-{'2' * 16}-01", tracestate="a=1"),
    *(0, 0, 0),
    identity=Identity("a.txt", 5, metadata="album c29tZQ=="),
    location=Location("file", "/x/2881cbe7-d4d9-4593-80dd-6691e7fa9dd1"),
    part_size=8,
    digest="0" * 64,
)


def schema(name: str) -> dict[str, Any]:
    """A named schema with all that it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def types(found: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema takes."""
    if "$ref" in found:
        return types(SCHEMAS[found["$ref"].rpartition("/")[2]])
    if "anyOf" in found:
        return set().union(*map(types, found["anyOf"]))
    if "enum" in found or "const" in found:
        return {NAMES[type(value)] for value in found.get("enum", [found.get("const")])}
    return {found["type"]} if isinstance(found["type"], str) else set(found["type"])


def test_it_is_of_this_version_and_place() -> None:
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", incoming.__version__)
    assert DOCUMENT["servers"] == [{"url": "/incoming/0.1"}]
    assert document("https://example.org/up")["servers"] == [{"url": "https://example.org/up/incoming/0.1"}]


@pytest.mark.parametrize(("name", "rules"), [("NewUpload", NEW_UPLOAD), ("AboutUpload", ABOUT_UPLOAD)])
def test_parameters_are_those_of_the_functions(name: str, rules: Rules) -> None:
    found = SCHEMAS[name]
    assert set(found["properties"]) == set(rules)
    assert set(found["required"]) == {parameter for parameter, rule in rules.items() if rule.is_required}
    for parameter, rule in rules.items():
        taken = {"string"} | {NAMES[kind] for kind in rule.json_types}
        assert types(found["properties"][parameter]) == taken, parameter


def test_limits_are_those_of_the_code() -> None:
    given = SCHEMAS["NewUpload"]["properties"]
    assert given["signalFinishURL"]["maxLength"] == MAX_URL
    assert SCHEMAS["Secret"]["maxLength"] == MAX_SECRET
    assert (given["fileName"]["maxLength"], given["mediaType"]["maxLength"]) == (MAX_NAME, MAX_MEDIA_TYPE)
    assert {given["fileSize"]["anyOf"][0]["maximum"], SCHEMAS["Size"]["anyOf"][0]["maximum"]} == {MAX_SIZE}
    assert given["count"]["anyOf"][0]["maximum"] == MAX_COUNT
    assert {given[name]["anyOf"][0]["maxItems"] for name in ("allowedOrigins", "allowedTypes")} == {MAX_ITEMS}
    assert given["signalFinishFormat"]["enum"] == list(FORMATS)


def test_paths_are_routes_of_the_server() -> None:
    for path, item in DOCUMENT["paths"].items():
        handlers = [kind for pattern, kind in ROUTES if re.fullmatch(PREFIX + pattern, f"/incoming/0.1{path}")]
        assert handlers, path
        for method in item:
            assert any(hasattr(kind, method) for kind in handlers), (method, path)


def test_errors_and_states_are_the_documented_ones() -> None:
    error = messages.describe_error(UnknownTicket("unknown"))
    assert set(error) == set(SCHEMAS["Error"]["required"])
    assert SCHEMAS["Error"]["properties"]["code"]["enum"] == sorted(TABLE)
    assert SCHEMAS["State"]["enum"] == [str(state) for state in State]
    jsonschema_rs.validate(schema("Error"), error)


def test_the_status_is_the_documented_one() -> None:
    status = messages.status(UPLOAD, Limits(1, 2, 3, 4, 5.0))
    assert set(status) == set(SCHEMAS["Status"]["properties"])
    least = messages.status(replace(UPLOAD, identity=Identity(), digest="", part_size=0), Limits(1, 2, 3, 4, 5.0))
    assert set(SCHEMAS["Status"]["required"]) <= set(least)
    for told in (status, least):
        jsonschema_rs.validate(schema("Status"), json.loads(json.dumps(told)))


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("is_test", [False, True])
@pytest.mark.parametrize("format_", FORMATS)
def test_the_webhook_is_what_is_sent(format_: str, is_test: bool, cancelled: bool) -> None:
    ticket = replace(UPLOAD, options=replace(UPLOAD.options, signal_finish_format=format_))
    callback = Callback("d", cancelled=cancelled, since=0, due_at=0, attempts=1)
    body = payload.content(ticket, callback, is_test=is_test)
    headers = payload.headers(ticket, callback, body, 0, is_test=is_test)
    name = {"form": "CallbackForm", "json": "CallbackJson"}[format_]
    hook = DOCUMENT["webhooks"]["uploadFinished"]["post"]
    assert hook["requestBody"]["content"][headers["Content-Type"]]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    fields = json.loads(body) if format_ == "json" else dict(parse_qsl(body.decode(), keep_blank_values=True))
    jsonschema_rs.validate(schema(name), fields)
    assert set(fields) <= set(SCHEMAS[name]["properties"])
    named = {reference["$ref"].rpartition("/")[2] for reference in hook["parameters"]}
    assert set(headers) - {"Content-Type", "Accept-Encoding"} == named - (set() if is_test else {"Incoming-Test"})


def test_a_refusal_of_the_app_has_the_documented_statuses() -> None:
    answers = DOCUMENT["webhooks"]["uploadFinished"]["post"]["responses"]
    assert {int(status) for status in answers if status.isdigit()} - {200} == set(answer.REFUSING_STATUSES)


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for name in reference.split("/"):
            found = found[name]
    jsonschema_rs.meta.validate(SCHEMAS["NewUpload"] | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
