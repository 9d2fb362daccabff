"""The modules behind both examples, where a process and HTTP would only be in the way."""

import errno
import fcntl
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from webapp.move_file import move_file
from webapp.pages import human_size
from webapp.tickets import REMEMBERED_S, Ticket, Tickets, same_secret
from webapp.uploads_folder import UploadsFolder, harmless_name


@pytest.fixture
def tickets(tmp_path: Path) -> Tickets:
    return Tickets(tmp_path / "tickets.sqlite")


def test_tickets_survive_the_app(tickets: Tickets, tmp_path: Path) -> None:
    ticket = Ticket("id", "sécret", "file name")
    tickets.add(ticket)
    assert Tickets(tmp_path / "tickets.sqlite").find("id") == ticket
    assert tickets.find("another") is None


def test_closed_tickets_are_remembered_but_not_for_ever(tickets: Tickets, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr("webapp.tickets.time.time", lambda: now[0])
    for number in ("old", "waiting", "open"):
        tickets.add(Ticket(number, "s"))
    tickets.close(Ticket("old", "s"), "done")
    assert tickets.begin_work(Ticket("waiting", "s"), Path("/storage/waiting"))
    now[0] += REMEMBERED_S - 1
    tickets.add(Ticket("new", "s"))
    assert (found := tickets.find("old")) is not None
    assert found.answer == "done"
    now[0] += 2
    tickets.add(Ticket("newer", "s"))
    assert tickets.find("old") is None
    assert [ticket.id for ticket in tickets.waiting()] == ["waiting"]
    assert tickets.find("open") is not None


def test_work_is_begun_once(tickets: Tickets) -> None:
    ticket = Ticket("id", "s")
    tickets.add(ticket)
    assert [tickets.begin_work(ticket, Path("/storage/id")) for _ in range(2)] == [True, False]
    assert [(found.id, found.arrived) for found in tickets.waiting()] == [("id", "/storage/id")]
    tickets.close(ticket, "done")
    assert tickets.waiting() == []
    assert not tickets.begin_work(ticket, Path("/storage/id"))


def test_secrets() -> None:
    assert same_secret("sécrèt", "sécrèt")
    assert not same_secret("sécrèt", "secret")
    assert not same_secret("secret", "")


def test_of_many_threads_each_gets_a_name_of_its_own(tickets: Tickets, tmp_path: Path) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    names: list[str] = []
    together = threading.Barrier(20)

    def take(number: int) -> None:
        source = tmp_path / str(number)
        source.write_text(str(number))
        ticket = Ticket(str(number), "s")
        tickets.add(ticket)
        together.wait()
        name = tickets.reserve_name(ticket, folder.free_names("same.txt"))
        assert tickets.reserve_name(ticket, folder.free_names("another.txt")) == name, "it keeps its name"
        folder.take(source, name)
        tickets.close(ticket, "done")
        names.append(name)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 20
    assert {path.read_text() for path in folder.directory.iterdir()} == {str(number) for number in range(20)}


def fail_once(code: int, original: Callable[..., object]) -> Callable[..., object]:
    """In place of a function: the first call fails, the others do what they always did."""
    calls = itertools.count()

    def fail_first(*arguments: object, **named: object) -> object:
        if next(calls) == 0:
            raise OSError(code, os.strerror(code))
        return original(*arguments, **named)

    return fail_first


@pytest.fixture
def other_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """To rename a file named `source` fails, as it does between file systems."""
    rename = Path.rename

    def rename_within_the_folder(original: Path, target: Path) -> Path:
        if original.name == "source":
            raise OSError(errno.EXDEV, "another file system")
        return rename(original, target)

    monkeypatch.setattr(Path, "rename", rename_within_the_folder)


@pytest.mark.usefixtures("other_file_system")
def test_a_copy_that_cannot_be_synced_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    source = tmp_path / "source"
    source.write_text("content")
    monkeypatch.setattr("os.fsync", fail_once(errno.EIO, os.fsync))
    with pytest.raises(OSError, match="Input/output"):
        folder.take(source, "name.txt")
    assert source.read_text() == "content"
    assert [path.name for path in folder.directory.iterdir()] == [".name.txt.lock"]
    folder.take(source, "name.txt")
    assert [(path.name, path.read_text()) for path in folder.directory.iterdir()] == [("name.txt", "content")]
    assert not source.exists()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_file_that_may_only_be_read_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("content")
    monkeypatch.setattr(Path, "rename", fail_once(code, Path.rename))
    move_file(source, target)
    assert source.read_text() == target.read_text() == "content"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_not_there_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_file(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == [".target.lock"]


@pytest.mark.usefixtures("other_file_system")
def test_an_original_that_cannot_be_removed_is_no_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    source = tmp_path / "source"
    source.write_text("content")
    unlink = Path.unlink

    def unlink_elsewhere(path: Path, missing_ok: bool = False) -> None:
        if path == source:
            raise PermissionError(errno.EACCES, "read-only")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_elsewhere)
    for _ in range(2):
        with pytest.raises(PermissionError):
            folder.take(source, "name.txt")
    monkeypatch.setattr(Path, "unlink", unlink)
    folder.take(source, "name.txt")
    assert [(path.name, path.read_text()) for path in folder.directory.iterdir()] == [("name.txt", "content")]
    assert not source.exists()


def test_rests_of_killed_copies_are_removed(tmp_path: Path) -> None:
    """But not those of a copy that another process is making: it holds the lock."""
    directory = UploadsFolder(tmp_path / "uploads").directory
    for name in (".rest.part", ".growing.part", ".growing.lock", "part", "rest.part"):
        (directory / name).write_text("content")
    with (directory / ".growing.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        UploadsFolder(directory)
    assert {path.name for path in directory.iterdir() if path.stat().st_size} == {".growing.part", "part", "rest.part"}


def test_a_file_that_is_being_copied_is_neither_listed_nor_served(tmp_path: Path) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    (folder.directory / ".123.part").write_text("half")
    assert folder.files() == []
    assert folder.find(".123.part") is None


def test_names_keep_their_meaning() -> None:
    assert harmless_name("Report (final).tar.gz") == "Report (final).tar.gz"
    assert harmless_name("u\u0308ber.txt") == "\u00fcber.txt"
    assert harmless_name("Screenshot at 3.04\u202fPM.png") == "Screenshot at 3.04\u202fPM.png"
    assert harmless_name("x." + "y" * 300) == "x." + "y" * 198


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (123_456, "123 kB"),
        (999_600, "1.00 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text
