"""The modules behind both examples, where a process and HTTP would only be in the way."""

import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Never

import pytest
from webapp.pages import human_size
from webapp.tickets import Ticket, Tickets, same_secret
from webapp.uploads_folder import UploadsFolder, harmless_name


def test_closed_tickets_are_remembered_but_not_for_ever() -> None:
    tickets = Tickets(remembered=3)
    for number in range(5):
        ticket = Ticket(id=str(number), secret="s")
        tickets.add(ticket)
        assert tickets.find(str(number)) is ticket
        tickets.close(ticket)
    assert [number for number in range(5) if tickets.find(str(number))] == [2, 3, 4]


def test_open_tickets_are_not_pushed_out() -> None:
    tickets = Tickets(remembered=1)
    waiting = Ticket(id="waiting", secret="s")
    tickets.add(waiting)
    for number in range(5):
        tickets.close(Ticket(id=str(number), secret="s"))
    assert tickets.find("waiting") is waiting


def test_secrets() -> None:
    assert same_secret("sécrèt", "sécrèt")
    assert not same_secret("sécrèt", "secret")
    assert not same_secret("secret", "")


def test_of_many_threads_each_gets_a_name_of_its_own(tmp_path: Path) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    names: list[str] = []
    together = threading.Barrier(20)

    def take(number: int) -> None:
        source = tmp_path / str(number)
        source.write_text(str(number))
        together.wait()
        names.append(folder.take(source, "same.txt"))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 20
    assert {path.read_text() for path in folder.directory.iterdir()} == {str(number) for number in range(20)}


def fail_once(code: int, function: str) -> Callable[..., object]:
    """In place of a function of os: the first call fails, the others do what they always did."""
    original = getattr(os, function.removeprefix("os."))
    calls = itertools.count()

    def fail_first(*arguments: object) -> object:
        if next(calls) == 0:
            raise OSError(code, os.strerror(code))
        return original(*arguments)

    return fail_first


def fail_with(code: int) -> Callable[..., Never]:
    def fail(*_: object) -> Never:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("step", ["os.fsync", "os.unlink"])
def test_a_copy_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    source = tmp_path / "source"
    source.write_text("content")
    link = os.link

    def link_within_the_folder(original: Path, copy: Path) -> None:
        if original == source:
            raise OSError(errno.EXDEV, "another file system")
        link(original, copy)

    monkeypatch.setattr("os.link", link_within_the_folder)
    monkeypatch.setattr(step, fail_once(errno.ENOSPC, step))
    with pytest.raises(OSError, match="No space left"):
        folder.take(source, "name.txt")
    assert source.read_text() == "content"
    assert list(folder.directory.iterdir()) == []
    assert folder.take(source, "name.txt") == "name.txt"
    assert not source.exists()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    monkeypatch.setattr("os.link", fail_with(code))
    for content in ("first", "second"):
        source = tmp_path / "source"
        source.write_text(content)
        folder.take(source, "name.txt")
    found = {path.name: path.read_text() for path in folder.directory.iterdir()}
    assert found == {"name.txt": "first", "name (2).txt": "second"}

    source.write_text("third")
    monkeypatch.setattr("os.replace", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        folder.take(source, "name.txt")
    assert source.read_text() == "third"
    assert len(list(folder.directory.iterdir())) == 2


def test_a_source_that_cannot_be_removed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    source = tmp_path / "source"
    source.write_text("content")
    link, unlink = os.link, os.unlink

    def link_within_the_folder(original: Path, copy: Path) -> None:
        if original == source:
            raise OSError(errno.EXDEV, "another file system")
        link(original, copy)

    def unlink_elsewhere(path: Path) -> None:
        if path == source:
            raise PermissionError(errno.EACCES, "read-only")
        unlink(path)

    monkeypatch.setattr("os.link", link_within_the_folder)
    monkeypatch.setattr("os.unlink", unlink_elsewhere)
    with pytest.raises(PermissionError):
        folder.take(source, "name.txt")
    assert list(folder.directory.iterdir()) == []


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
