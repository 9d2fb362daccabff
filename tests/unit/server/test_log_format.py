"""The log: one record per event, in two formats, that nothing a client sends can forge."""

import ast
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from incoming.server.log_format import FLOOD_LIMIT, FloodGate, JsonLines, TextLines, configure, printable
from tests.support.tools import ROOT

TICKET = "a197b8f5-fb74-434f-9df0-9a4048b857a7"
NASTY = "a\nb\r\x1b[31m\x00\x7f\x85\u2028\u202e%s\\n \ud800"


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("incoming.test", level, "here.py", 1, message, arguments, None)
    made.created = 1_700_000_000.25
    vars(made).update(extra)
    return made


def traceback() -> logging.LogRecord:
    try:
        raise ValueError(f"line\n2026-01-01 INFO forged {TICKET}")
    except ValueError:
        made = record("it failed", level=logging.ERROR)
        made.exc_info = sys.exc_info()
        return made


def test_records_can_be_text() -> None:
    made = record("upload %s: %d bytes", TICKET, 7, client="::1", note="two words", nothing="")
    assert TextLines().format(made) == (
        f"2023-11-14T22:13:20.250+00:00 INFO incoming.test[{made.process}] "
        'upload a197b8f5…: 7 bytes client=::1 note="two words" nothing=""'
    )


def test_records_can_be_json() -> None:
    made = record("upload %s", TICKET, client="::1", count=3, error=None, level_="x")
    assert json.loads(JsonLines().format(made)) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "info",
        "logger": "incoming.test",
        "pid": made.process,
        "message": "upload a197b8f5…",
        "event": "upload %s",
        "upload": "a197b8f5…",
        "client": "::1",
        "count": 3,
        "error": None,
        "level_": "x",
    }


def test_an_event_is_the_same_whatever_it_is_about() -> None:
    entries = [
        json.loads(JsonLines().format(record("upload %s: cancelled: %s", TICKET, reason, client=client)))
        for reason, client in (("no", "::1"), (NASTY, "10.0.0.1"))
    ]
    assert {entry["event"] for entry in entries} == {"cancelled: %s"}
    assert {entry["upload"] for entry in entries} == {"a197b8f5…"}
    assert [entry["client"] for entry in entries] == ["::1", "10.0.0.1"]
    assert json.loads(JsonLines().format(record("%s", "the whole line")))["event"] == "the whole line"


def test_the_caller_may_name_the_event() -> None:
    told = record("%s %s %d", "POST", "/incoming/backend/new_upload", 200, event="new_upload answered", client="::1")
    entry = json.loads(JsonLines().format(told))
    assert (entry["event"], entry["message"]) == ("new_upload answered", "POST /incoming/backend/new_upload 200")
    assert "event" not in TextLines().format(told)


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger in the server, with where it is."""
    for path in sorted((ROOT / "incoming").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger" | "logging"), attr=level)) if (
                    level in ("debug", "info", "warning", "error", "critical", "exception", "log")
                ):
                    yield f"{path.name}:{node.lineno}", node


def test_every_event_of_the_server_has_a_distinct_text() -> None:
    """What is filled in must come as an argument: a text put together beforehand is another one each time."""
    calls = dict(log_calls())
    assert len(calls) > 30
    for place, call in calls.items():
        text = call.args[1 if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else 0]
        if place.startswith("fault_log.py"):  # passes on what RateLimitedLog.report is given
            continue
        assert isinstance(text, ast.Constant), f"{place}: the first argument is not a text"
        subject = re.match(r"upload (?!%s: )", str(text.value))
        assert subject is None, f"{place}: an upload's id comes first, as 'upload %s: '"


def test_nothing_is_written_past_the_log() -> None:
    """Standard output belongs to the commands `uploads` and `send`, standard error to the log and to `send`."""
    users = {
        path.name
        for path in (ROOT / "incoming").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "print"
    }
    assert users == {"terminal.py"}


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_nothing_can_forge_a_record(formatter: logging.Formatter) -> None:
    line = formatter.format(record("name %s", NASTY, reason=NASTY))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert TICKET not in formatter.format(record("GET /upload/%s", TICKET, path=f"/x/{TICKET.upper()}?y"))


def test_a_traceback_is_one_record() -> None:
    lines = TextLines().format(traceback()).split("\n")
    assert all(line.startswith("    | ") for line in lines[1:])
    assert lines[-1] == "    | 2026-01-01 INFO forged a197b8f5…"
    entry = json.loads(JsonLines().format(traceback()))
    assert "ValueError: line" in entry["traceback"]
    assert TICKET not in entry["traceback"]


def test_long_messages_are_cut() -> None:
    line = TextLines().format(record("%s", "x" * 100_000))
    assert len(line) < 5000
    assert line.endswith("… (100000 characters)")


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Grüße \N{SNOWMAN} 100% \\n") == "Grüße \N{SNOWMAN} 100% \\n"
    assert printable("\ttab") == "\\ttab"


def test_floods_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("incoming.server.log_format.time.monotonic", lambda: now)
    gate = FloodGate()
    passed = [gate.filter(record("refused %s", str(i), level=logging.WARNING)) for i in range(FLOOD_LIMIT + 5)]
    assert passed == [True] * FLOOD_LIMIT + [False] * 5
    assert all(gate.filter(record("fine", level=level)) for level in (logging.INFO, logging.ERROR) for _ in range(100))
    elsewhere = record("other", level=logging.WARNING)
    elsewhere.lineno = 2
    assert gate.filter(elsewhere)
    now += 10
    later = record("refused", level=logging.WARNING)
    assert gate.filter(later)
    assert "held_back=5" in TextLines().format(later)
    assert "held_back" not in vars(elsewhere)


def test_each_kind_of_one_place_has_a_cap_of_its_own() -> None:
    gate = FloodGate()
    strangers = [record("%d", 403, level=logging.WARNING, flood=(403, False)) for _ in range(2 * FLOOD_LIMIT)]
    assert sum(gate.filter(each) for each in strangers) == FLOOD_LIMIT
    assert gate.filter(record("%d", 403, level=logging.WARNING, flood=(403, True)))
    assert gate.filter(record("%d", 500, level=logging.WARNING, flood=(500, False)))
    assert "flood" not in TextLines().format(strangers[0])
    assert "flood" not in JsonLines().format(strangers[0])


@pytest.fixture
def root_logger() -> object:
    """The root logger and those that `configure` touches, put back afterwards."""
    names = [None, "tornado.general", "tornado.access", "asyncio"]
    before = [(name, logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names]
    yield
    logging.captureWarnings(False)
    for name, level, handlers in before:
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers[:] = handlers


@pytest.mark.parametrize(("level", "written"), [("info", ["I", "W"]), ("warning", ["W"]), ("debug", ["D", "I", "W"])])
def test_records_below_the_level_are_dropped(
    level: str, written: list[str], root_logger: object, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(level, "json")
    logging.getLogger("incoming.x").debug("D")
    logging.getLogger("incoming.x").info("I")
    logging.getLogger("incoming.x").warning("W")
    logging.getLogger("tornado.general").info("noise")
    messages = [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines()]
    assert [message for message in messages if message != "noise"] == written
    assert ("noise" in messages) is (level == "debug")


def test_text_goes_to_standard_error(root_logger: object, capfd: pytest.CaptureFixture[str]) -> None:
    configure("info", "text")
    logging.getLogger("incoming.x").info("hello")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"\S+ INFO incoming\.x\[\d+\] hello\n", captured.err)
