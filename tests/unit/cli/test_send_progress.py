"""What `incoming send` shows, for people, logs and programs."""

import io
import json

import pytest
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TextColumn

from incoming.cli.send_progress import JsonLines, Lines, Nothing, TerminalBars, _Seldom, display_for
from incoming.client.upload.outcome import Outcome
from incoming.client.upload.progress import Progress

SENDING = Progress("uploading", 512, 1024, 2, "websocket")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_with_each_change_and_else_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(_Seldom(30.0, clock))
    for progress in (Progress("connecting", 0, 1024), SENDING, SENDING, Progress("retrying", 512, 1024, note="away")):
        lines.show("film\x1b.mp4", progress)
    clock.now = 30.0
    lines.show("film\x1b.mp4", Progress("retrying", 512, 1024, note="away"))
    for state in ("arrived", "handing_over"):
        lines.show("film\x1b.mp4", Progress(state, 1024, 1024))
    lines.show("-", Progress("uploading", 512, None, 1, "http"))
    lines.done("film\x1b.mp4", Outcome("ticket", 1024))
    lines.done("b", None)
    lines.failed("c", "refused", 4)
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "film\\x1b.mp4: connecting",
        "film\\x1b.mp4: sending, 512 B of 1 KiB, 2 by websocket",
        "film\\x1b.mp4: trying again, away",
        "film\\x1b.mp4: trying again, away",
        "film\\x1b.mp4: handing over to the application",
        "-: sending, 512 B of ?, 1 by http",
        "incoming send: c: refused",
    ]
    assert out.splitlines() == ["film\\x1b.mp4: finished, 1 KiB", "b: sent before"]


def test_programs_get_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    display = JsonLines(_Seldom(0.5, Clock()))
    for _ in range(3):
        display.show("film\n.mp4", SENDING)
    display.done("film\n.mp4", Outcome("ticket", 1024))
    display.failed("c", "refused", 4)
    out, err = capsys.readouterr()
    first, second, third = map(json.loads, out.splitlines())
    assert (first["file"], first["arrived"], first["size"]) == ("film\n.mp4", 512, 1024)
    assert (second["code"], second["ticket"], second["sent_before"]) == (0, "ticket", False)
    assert (third["code"], third["reason"], err) == (4, "refused", "")


def test_bars_show_state_and_result_and_no_markup() -> None:
    out = io.StringIO()
    with Bars(
        TextColumn("{task.description}|{task.completed}|{task.fields[state]}", markup=False),
        console=Console(file=out, width=200),
    ) as bars:
        display = TerminalBars(bars)
        display.show("[red]film", SENDING)
        display.show("[red]film", Progress("retrying", 512, 1024, note="the line is down"))
        display.failed("[red]film", "[bold]refused", 4)
        display.show("b", Progress("finished", 9, 9))
        display.done("b", Outcome("ticket", 9))
        display.done("c", None)
        display.show("d", SENDING)
    text = out.getvalue()
    for part in ("incoming send: [red]film: [bold]refused", "b: finished, 9 B", "c: sent before", "d|512|sending"):
        assert part in text
    assert not any(ended in text.splitlines()[-1] for ended in ("film", "b|"))


def test_what_is_shown_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    kinds = {"none": Nothing, "plain": Lines, "json": JsonLines, "bar": TerminalBars, None: Lines}
    for kind, expected in kinds.items():
        with display_for(kind) as display:
            assert type(display) is expected
