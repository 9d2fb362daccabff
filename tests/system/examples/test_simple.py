"""Example 1 over HTTP: its page, its callback, its downloads."""

import re
import threading
from html import unescape

import pytest
import requests

from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming


def new_ticket(app: ExampleApp, incoming: FakeIncoming) -> str:
    assert app.get("/").status_code == 200
    return incoming.last_ticket()


@pytest.mark.promise(114, 128)
def test_the_page_comes_with_a_ticket(simple: ExampleApp, incoming: FakeIncoming) -> None:
    page = simple.get("/")
    assert f'data-upload-id="{incoming.last_ticket()}"' in page.text
    assert f'src="http://127.0.0.1:{incoming.port}/incoming/0.1/frontend/incoming.js"' in page.text
    for element_id in ("input_file", "stats_state_msg", "stats_progress_bar", "output_finished", "uploaded_files_list"):
        assert f'id="{element_id}"' in page.text
    asked = incoming.calls[0].parameters
    assert asked["signalFinishURL"] == f"{simple.url}/api/backend/upload_finished"
    assert asked["removeFileWhenFinished"] == "false"
    assert len(asked["backendSecret"]) == 36
    assert asked["testCallback"] == "true"


@pytest.mark.promise(114)
def test_every_page_has_a_ticket_of_its_own(simple: ExampleApp, incoming: FakeIncoming) -> None:
    assert new_ticket(simple, incoming) != new_ticket(simple, incoming)
    assert simple.get("/").headers["Cache-Control"] == "no-store"
    secrets = {call.parameters["backendSecret"] for call in incoming.calls}
    assert len(secrets) == 3


@pytest.mark.promise(116)
def test_the_file_is_moved_and_the_callback_answered_done(simple: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(simple, incoming)
    answer = incoming.hand_over(ticket, b"content", "notes.txt")
    assert (answer.status_code, answer.text) == (200, "done")
    assert simple.contents() == {"notes.txt": b"content"}
    assert not incoming.file_of(ticket).exists()


@pytest.mark.promise(116)
def test_an_empty_file_is_accepted(simple: ExampleApp, incoming: FakeIncoming) -> None:
    assert incoming.hand_over(new_ticket(simple, incoming), b"", "empty").text == "done"
    assert simple.contents() == {"empty": b""}


@pytest.mark.promise(116)
def test_a_cancelled_upload_is_logged(simple: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(simple, incoming)
    changed = {"cancelled": "yes", "cancelReason": "no time\nINFO forged line", "filename": ""}
    for _ in range(2):
        answer = incoming.call_back(ticket, **changed)
        assert (answer.status_code, answer.text) == (200, "")
    assert simple.log.count("was cancelled: 'no time\\nINFO forged line'") == 1
    assert simple.contents() == {}


@pytest.mark.promise(117)
def test_an_unknown_id_is_404(simple: ExampleApp, incoming: FakeIncoming) -> None:
    for changed in ({}, {"id": "00000000-0000-4000-8000-000000000000"}):
        ticket = new_ticket(simple, incoming)
        incoming.store(ticket, b"content")
        fields = {"id": "", "backendSecret": "", "filename": str(incoming.file_of(ticket)), "cancelled": "no"}
        answer = requests.post(f"{simple.url}/api/backend/upload_finished", data=fields | changed, timeout=30)
        assert answer.status_code == 404
    assert simple.contents() == {}


@pytest.mark.promise(117)
@pytest.mark.parametrize("secret", ["", "wrong", "sécrèt", "\0"])
def test_a_wrong_secret_is_404_as_well(simple: ExampleApp, incoming: FakeIncoming, secret: str) -> None:
    ticket = new_ticket(simple, incoming)
    incoming.store(ticket, b"content")
    assert incoming.call_back(ticket, backendSecret=secret).status_code == 404
    assert simple.contents() == {}
    assert incoming.call_back(ticket).text == "done", "the true callback comes after the false one and is believed"


def test_the_secret_counts_in_the_body_only(simple: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(simple, incoming)
    incoming.store(ticket, b"content")
    fields = {"id": ticket, "backendSecret": incoming.calls[0].parameters["backendSecret"], "cancelled": "no"}
    fields["filename"] = str(incoming.file_of(ticket))
    answer = requests.post(f"{simple.url}/api/backend/upload_finished", params=fields, timeout=30)
    assert answer.status_code == 404


@pytest.mark.promise(117)
@pytest.mark.parametrize(("status", "text"), [(503, "no room <b>left</b>"), (403, "not from here")])
def test_without_a_ticket_there_is_an_error_page(
    simple: ExampleApp, incoming: FakeIncoming, status: int, text: str
) -> None:
    incoming.failures.append((status, text))
    answer = simple.get("/")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "incoming!! error: " in answer.text
    assert f"HTTP status {status}: {text}" in unescape(answer.text)
    assert text not in answer.text or "<" not in text
    assert simple.get("/").status_code == 200


@pytest.mark.promise(117, 127)
def test_a_server_that_is_down_gives_an_error_page(start_example: StartExample) -> None:
    simple = start_example(1, "--internal_incoming_host", "127.0.0.1:1")
    answer = simple.get("/")
    assert answer.status_code == 500
    assert "incoming!! error: no answer from 127.0.0.1:1" in answer.text


@pytest.mark.promise(118)
def test_uploaded_files_are_listed_the_newest_first(simple: ExampleApp, incoming: FakeIncoming) -> None:
    assert "None so far" in simple.get("/").text
    for name, size in (("b & c.txt", 1), ("größer ☃.bin", 1_234_567), ("100%.txt", 0)):
        incoming.hand_over(new_ticket(simple, incoming), b"x" * size, name)
    page = simple.get("/").text
    found = re.findall(r'<li><a href="(.*?)" download><bdi>(.*?)</bdi></a> <span class="numbers">(.*?)</span>', page)
    assert [(unescape(name), size) for _, name, size in found] == [
        ("100%.txt", "0 bytes"),
        ("größer ☃.bin", "1.23 MB"),
        ("b & c.txt", "1 byte"),
    ]
    lengths = [len(simple.get("/" + unescape(url)).content) for url, _, _ in found]
    assert lengths == [0, 1_234_567, 1]


@pytest.mark.promise(116)
def test_the_same_callback_twice_at_once_is_one_file(simple: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(simple, incoming)
    incoming.store(ticket, b"content")
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(incoming.call_back(ticket).text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {"done", "Not now. Please call again."}
    assert incoming.call_back(ticket).text == "done"
    assert simple.contents() == {"file.txt": b"content"}


@pytest.mark.promise(116)
def test_a_failed_callback_can_be_repeated(simple: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(simple, incoming)
    simple.uploads.rmdir()
    assert incoming.hand_over(ticket, b"content").status_code == 503
    assert incoming.file_of(ticket).read_bytes() == b"content"
    simple.uploads.mkdir()
    assert incoming.call_back(ticket).text == "done"
    assert simple.contents() == {"file.txt": b"content"}
