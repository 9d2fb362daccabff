"""Mistakes in the command line of `incoming send`, found before anything is sent."""

import sys
from pathlib import Path

import pytest

from incoming.cli import send
from incoming.cli.send_records import AlreadyRunning, Record, Records, absolute, state_directory
from incoming.client.upload.address import UploadAddress

TICKET = "1b2c3d4e-0000-4000-8000-000000000000"
UPLOAD = f"http://localhost:4000/incoming/0.1/frontend/upload/{TICKET}"
SERVER = "http://localhost:4000"
SOURCE = ("--ticket-url", "http://localhost:8000/ticket")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: FILE, URL"),
        (["{file}"], "required: URL"),
        (["--conections", "{file}", UPLOAD], "did you mean --connections?"),
        (["--connections", "0", "{file}", UPLOAD], "'0' is not a number from 1 to 64"),
        (["--rate", "fast", "{file}", UPLOAD], "'fast' is not a number of bytes"),
        (["--give-up-after", "-1", "{file}", UPLOAD], "'-1' is not a number of seconds"),
        (["--give-up-after", "nan", "{file}", UPLOAD], "'nan' is not a number of seconds"),
        (["--progress", "bars", "{file}", UPLOAD], "; did you mean bar?"),
        (["--parallel", "0", "{file}", UPLOAD], "'0' is not a number from 1 to 64"),
        (["--metadata", "x", "{file}", SERVER, *SOURCE], "'x' is not of the form KEY=VALUE"),
        (["--metadata", "x=y", "{file}", UPLOAD], "it needs --ticket-url or --ticket-from"),
        (["nothing-of-that-name", UPLOAD], "there is no such file"),
        (["{directory}/fil.mp4", UPLOAD], "film.mp4'?"),
        (["no-directory/film.mp4", UPLOAD], "there is no such file"),
        (["{file}", UPLOAD.replace("upload", "tus")], f"did you mean {UPLOAD}?"),
        ([UPLOAD, "{file}"], "the URL comes last"),
        (["{file}", "localhost:4000"], "did you mean http://localhost:4000"),
        (["{file}", SERVER], "the URL is that of a server"),
        (["{file}", UPLOAD[:-1]], "is no ticket"),
        (["{file}", UPLOAD, *SOURCE], "the URL has a ticket already"),
        (["{file}", SERVER, "--ticket-url", "app.example.org"], "did you mean http://app.example.org"),
        (["{file}", SERVER, *SOURCE, "--ticket-from", "x"], "not allowed with argument"),
        (["{file}", SERVER, "--ticket-from", "'"], "No closing quotation"),
        (["{file}", SERVER, "--ticket-from", "./none"], "--ticket-from './none': there is no such program"),
        (["{file}", SERVER, "--ticket-from", " "], "the command of --ticket-from is empty"),
        (["{file}", "{file}", UPLOAD], "a ticket is for one file"),
        (["{directory}", UPLOAD], "a ticket is for one file"),
        (["--name", "x", "{directory}", SERVER, *SOURCE], "--name is for one file"),
        (["-", "-", SERVER, *SOURCE], "stdin can be sent once"),
        (["--ca-file", "none.pem", "{file}", UPLOAD], "No such file"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "film.mp4"
    file.write_text("content")
    try:
        code = send.run([argument.format(file=file, directory=tmp_path) for argument in arguments], {})
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (2, 1), said
    assert complaint in said
    assert said.startswith("incoming send: ")


def test_without_its_packages_it_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for module in [name for name in sys.modules if name.startswith(("incoming.cli.send_", "incoming.cli.ticket"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "incoming.client.upload.http_connection", raising=False)
    (tmp_path / "film.mp4").touch()
    assert send.run([str(tmp_path / "film.mp4"), UPLOAD], {}) == 2
    assert "pip install 'incoming[client]' (aiohttp is missing)" in capsys.readouterr().err


# --- what is remembered -----------------------------------------------------------------------------------------------


def records(tmp_path: Path, *files: str, where: str = SERVER) -> Records:
    return Records(tmp_path / "state", files, [where])


def test_a_record_is_found_by_the_same_command_alone(tmp_path: Path) -> None:
    with records(tmp_path, "a", "b").locked():
        records(tmp_path, "a", "b").keep(Record("a", UPLOAD, 3, 4))
    assert records(tmp_path, "a", "b").find("a") == Record("a", UPLOAD, 3, 4)
    assert records(tmp_path, "a").find("a") is None
    assert records(tmp_path, "a", "b", where="http://other").find("a") is None
    assert records(tmp_path, absolute("a"), absolute("b")).find("a") is not None


def test_records_are_their_users_alone(tmp_path: Path) -> None:
    with (found := records(tmp_path, "a")).locked():
        found.keep(Record("a", UPLOAD))
    for path in (tmp_path / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.name == "lock", path


def test_a_broken_record_is_none(tmp_path: Path) -> None:
    with (found := records(tmp_path, "a")).locked():
        found.keep(Record("a", UPLOAD))
    [file] = (tmp_path / "state").rglob("*.json")
    for text in ("", "{", "[]", '{"path": "a"}', '{"path": "a", "url": "u", "new": 1}'):
        file.write_text(text)
        assert found.find("a") is None


def test_two_processes_do_not_do_the_same_work(tmp_path: Path) -> None:
    with records(tmp_path, "a").locked(), pytest.raises(AlreadyRunning), records(tmp_path, "a").locked():
        pass
    with records(tmp_path, "a").locked():
        pass


def test_nothing_is_left_when_there_is_nothing_to_remember(tmp_path: Path) -> None:
    with (found := records(tmp_path, "a")).locked():
        found.keep(Record("a", UPLOAD))
        found.forget_all()
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/me"}, "/x/incoming/send"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/incoming/send"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/incoming/send"),
    ],
)
def test_the_directory_for_state_is_that_of_the_xdg_specification(environment: dict[str, str], expected: str) -> None:
    assert state_directory(environment) == Path(expected)


# --- answers that are tickets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        TICKET,
        f" {TICKET.upper()}\r\n",
        f'"{TICKET}"',
        f'{{"ticket": "{TICKET}"}}',
        f'{{"id": "{TICKET}", "name": "x"}}',
        UPLOAD,
        f'{{"url": "{UPLOAD}"}}',
    ],
)
def test_a_ticket_may_come_in_many_forms(answer: str) -> None:
    from incoming.cli.ticket_source import _address

    assert _address(answer.encode(), SERVER, "app") == UploadAddress(SERVER, TICKET)


@pytest.mark.parametrize("answer", ["", "<html>", "{}", "[]", "null", '{"ticket": 5}', SERVER, TICKET + "0", b"\xff"])
def test_what_is_no_ticket_is_shown(answer: str | bytes) -> None:
    from incoming.cli.ticket_source import TicketRefused, _address

    with pytest.raises(TicketRefused, match="app gave no ticket but"):
        _address(answer if isinstance(answer, bytes) else answer.encode(), SERVER, "app")
