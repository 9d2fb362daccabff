"""Runs the public conformance suite of the tus protocol against a server of this checkout.

The suite (https://github.com/sagikazarmark/tus-conformance-tests) is written for hurl and for servers on which anybody
creates uploads at one URL. Here each of its files gets a ticket of its own, whose URL is the creation endpoint, and
another one after it has made a final upload of parts, because a ticket is one file. This file decides how the part of
hurl's language that the suite uses is understood; an unknown line is an error.
"""

import argparse
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 20.0
"""Seconds for the server to start, and for an answer."""

WANTED = 118
"""Files that must pass: all but the two of checksum-trailer, the two of concatenation-unfinished, and EXT-TERM-005,
which wants DELETE of a complete upload to succeed although its file is the app's by then.
"""

_REQUEST = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (\S+)")
_STATUS = re.compile(r"HTTP (\d{3}|\*)")
_FIELD = re.compile(r"([A-Za-z0-9-]+): ?(.*)")
_CAPTURE = re.compile(r'(\w+): header "([^"]+)"')
_ASSERT = re.compile(r'(?:header "(?P<name>[^"]+)"|status(?P<text> toString)?) (?P<predicate>.+)')


class Failed(Exception):
    """An answer is not what the suite wants."""


@dataclass
class Entry:
    """A request and what its answer must be."""

    method: str
    url: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None
    status: str = "*"
    captures: list[tuple[str, str]] = field(default_factory=list)
    asserts: list[str] = field(default_factory=list)


def parse(text: str) -> list[Entry]:
    """Return the entries of a hurl file. Raise ValueError for a line that is not understood."""
    entries: list[Entry] = []
    lines = iter(text.splitlines())
    section = ""
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if match := _REQUEST.fullmatch(line):
            entries.append(Entry(match[1], match[2]))
            section = "request"
        elif match := _STATUS.fullmatch(line):
            entries[-1].status, section = match[1], "answer"
        elif line in ("[Captures]", "[Asserts]"):
            section = line
        elif line == "```" and section == "request":
            entries[-1].body = _body(lines)
        elif section == "request" and (match := _FIELD.fullmatch(line)):
            entries[-1].fields.append((match[1], match[2]))
        elif section == "[Captures]" and (match := _CAPTURE.fullmatch(line)):
            entries[-1].captures.append((match[1], match[2]))
        elif section == "[Asserts]" and _ASSERT.fullmatch(line):
            entries[-1].asserts.append(line)
        else:
            raise ValueError(f"not understood: {line}")
    return entries


def _body(lines: Iterator[str]) -> bytes:
    body: list[str] = []
    for line in lines:
        if line.strip() == "```":
            return "".join(f"{part}\n" for part in body).encode()
        body.append(line)
    raise ValueError("a body does not end")


def run(entries: list[Entry], url: str, *, override: bool) -> None:
    """Make the requests to this server. Raise Failed at the first answer that is not as it must be."""
    variables = {"base_url": new_ticket(url), "tus_version": "1.0.0"}
    for number, entry in enumerate(entries, start=1):
        try:
            _run_entry(entry, variables, override=override)
        except Failed as failure:
            raise Failed(f"request {number}, {entry.method} {entry.url}: {failure}") from failure
        if entry.status == "201" and any(value.startswith("final;") for _, value in entry.fields):
            variables["base_url"] = new_ticket(url)


def _run_entry(entry: Entry, variables: dict[str, str], *, override: bool) -> None:
    url = urllib.parse.urlsplit(_filled(entry.url, variables))
    if not url.hostname:
        raise Failed(f"{entry.url} is no absolute URL")
    fields = [(name, _filled(value, variables)) for name, value in entry.fields]
    method = entry.method
    if override and method in ("PATCH", "DELETE", "HEAD"):
        fields.append(("X-HTTP-Method-Override", method))
        method = "POST"
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
    try:
        connection.putrequest(method, url.path)
        for name, value in fields:
            connection.putheader(name, value)
        if entry.body is not None or method in ("POST", "PATCH", "PUT"):
            connection.putheader("Content-Length", str(len(entry.body or b"")))
        connection.endheaders(entry.body)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if entry.status not in ("*", str(answer.status)):
        raise Failed(f"{answer.status}, wanted {entry.status}")
    for line in entry.asserts:
        _check(_filled(line, variables), answer)
    for variable, name in entry.captures:
        captured = answer.headers.get(name)
        if captured is None:
            raise Failed(f"the answer has no {name}")
        variables[variable] = captured


def _filled(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: variables[match[1]], text)


def _check(line: str, answer: http.client.HTTPResponse) -> None:
    match = _ASSERT.fullmatch(line)
    assert match is not None, line
    value: str | None = str(answer.status)
    if match["name"] is not None:
        value = answer.headers.get(match["name"])
    if not _holds(match["predicate"], value):
        raise Failed(f"{value!r}, wanted {line}")


def _holds(predicate: str, value: str | None) -> bool:
    if predicate in ("exists", "not exists"):
        return (value is not None) == (predicate == "exists")
    verb, _, told = predicate.partition(" ")
    wanted = told[1:-1].replace("\\\\", "\\") if told[0] in '"/' else told
    if value is None:
        return False
    match verb:
        case "==":
            return value == wanted
        case "contains":
            return wanted in value
        case "startsWith":
            return value.startswith(wanted)
        case "matches":
            return re.search(wanted, value) is not None
        case ">=":
            return int(value) >= int(wanted)
        case "<=":
            return int(value) <= int(wanted)
        case "<":
            return int(value) < int(wanted)
    raise ValueError(f"not understood: {predicate}")


# --- the server -------------------------------------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[str]:
    """Start a server in a directory of its own; yield its URL."""
    with tempfile.TemporaryDirectory(prefix="incoming-conformance-") as directory:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        options = ("--port", str(port), "--storage-dir", directory, "--public-url", url, "--address", "127.0.0.1")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INCOMING_")}
        command = [sys.executable, str(ROOT / "incoming.py"), *options, "--workers", "1", "--log-level", "error"]
        process = subprocess.Popen(command, cwd=directory, env=environment)
        try:
            _wait_for(f"{url}/incoming/health/live")
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def new_ticket(url: str) -> str:
    """Return the URL of a new ticket for tus."""
    form = urllib.parse.urlencode({"signalFinishURL": "http://127.0.0.1:9/"}).encode()
    with urllib.request.urlopen(f"{url}/incoming/0.1/backend/new_upload", form, PATIENCE) as answer:
        return f"{url}/incoming/0.1/frontend/tus/{answer.read().decode()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", type=Path, help="a checkout of the suite")
    parser.add_argument("--override", action="store_true", help="send PATCH, DELETE and HEAD as POST with an override")
    parser.add_argument("--only", default="", help="files whose name has this part")
    options = parser.parse_args()
    files = sorted(file for file in options.suite.rglob("*.hurl") if options.only in file.name)
    if not files:
        parser.error(f"{options.suite} has no such .hurl file")
    failures = {}
    with server() as url:
        for file in files:
            try:
                run(parse(file.read_text()), url, override=options.override)
            except Failed as failure:
                failures[file.stem] = str(failure)
    for name, reason in failures.items():
        print(f"{name}: {reason}")
    print(f"{len(files) - len(failures)} of {len(files)} pass")
    return int(len(files) - len(failures) < (len(files) if options.only else WANTED))


if __name__ == "__main__":
    sys.exit(main())
