"""The modules behind both examples, where a process and HTTP would only be in the way."""

import threading
from pathlib import Path

import pytest
from webapp.pages import human_size
from webapp.tickets import REMEMBERED_S, Ticket, Tickets
from webapp.uploads_folder import UploadsFolder, harmless_name

from incoming.client import take_file


@pytest.fixture
def tickets(tmp_path: Path) -> Tickets:
    return Tickets(tmp_path / "tickets.sqlite")


def test_tickets_survive_the_app(tickets: Tickets, tmp_path: Path) -> None:
    ticket = Ticket("id", "sécret", "file name")
    tickets.add(ticket)
    assert Tickets(tmp_path / "tickets.sqlite").find("id") == ticket
    assert tickets.secret_of("id") == "sécret"
    assert tickets.find("another") is tickets.secret_of("another") is None


def test_closed_tickets_are_kept_for_a_limited_time(tickets: Tickets, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_work_is_started_once(tickets: Tickets) -> None:
    ticket = Ticket("id", "s")
    tickets.add(ticket)
    assert [tickets.begin_work(ticket, Path("/storage/id")) for _ in range(2)] == [True, False]
    assert [(found.id, found.arrived) for found in tickets.waiting()] == [("id", "/storage/id")]
    tickets.close(ticket, "done")
    assert tickets.waiting() == []
    assert not tickets.begin_work(ticket, Path("/storage/id"))


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
        take_file(source, folder.path(name))
        tickets.close(ticket, "done")
        names.append(name)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 20
    assert {path.read_text() for path in folder.directory.iterdir()} == {str(number) for number in range(20)}


def test_a_file_that_is_being_copied_is_neither_listed_nor_served(tmp_path: Path) -> None:
    folder = UploadsFolder(tmp_path / "uploads")
    (folder.directory / ".123.part").write_text("half")
    assert folder.files() == []
    assert folder.find(".123.part") is None


def test_names_stay_recognizable() -> None:
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
def test_sizes_are_readable(size: int, text: str) -> None:
    assert human_size(size) == text
