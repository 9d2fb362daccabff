"""Example 2 over HTTP: tickets for its page, the deferred handover, what happens when the server is down."""

import json
import threading
import time

import pytest
import requests

from tests.support.waiting import wait_until
from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import Call, FakeIncoming


def new_ticket(app: ExampleApp, incoming: FakeIncoming, name: str = "file.txt") -> str:
    answer = app.get("/api/frontend/request_upload", params={"filename": name})
    assert answer.status_code == 200
    assert answer.text == incoming.last_ticket()
    return answer.text


def wait_for_finish(incoming: FakeIncoming, count: int = 1) -> list[Call]:
    return wait_until(
        lambda: calls if len(calls := incoming.calls_of("finish_upload")) >= count else [], f"{count} finish_upload"
    )


@pytest.mark.promise(121, 125)
def test_the_page_asks_for_tickets(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    assert dynamic.get("/").status_code == 200
    assert incoming.calls == [], "the page itself needs no ticket"
    answer = dynamic.get("/api/frontend/request_upload", params={"filename": "file.txt"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == incoming.last_ticket()
    asked = incoming.calls[0].parameters
    assert asked["removeFileWhenFinished"] == "false"
    assert asked["signalFinishURL"] == f"{dynamic.url}/api/backend/upload_finished"
    assert len(asked["backendSecret"]) == 36
    assert asked["testCallback"] == "true"


@pytest.mark.promise(122, 123)
def test_the_page_has_all_elements(dynamic: ExampleApp) -> None:
    page = dynamic.get("/").text
    stats = "state_msg progress_bar error_msg cancel_msg connected cancelling cancelled finished"
    stats += " chunks_tx chunks_acked chunks_ahead kb_tx kb_acked kb_ahead"
    ids = ["input_file", "input_pause", "input_btn_cancel", "uploaded_files_list"]
    for element_id in ids + [f"stats_{name}" for name in stats.split()]:
        assert page.count(f'id="{element_id}"') == 1, element_id


@pytest.mark.promise(117, 121)
def test_a_missing_ticket_is_reported_in_plain_text(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    incoming.failures.append((507, "disk full"))
    answer = dynamic.get("/api/frontend/request_upload", params={"filename": "file.txt"})
    assert (answer.status_code, answer.text) == (500, "incoming!! error: HTTP status 507: disk full")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.promise(126)
def test_the_app_answers_wait_and_finishes_later(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(dynamic, incoming, "big file.bin")
    answer = incoming.hand_over(ticket, b"content", "another name")
    assert (answer.status_code, answer.text) == (200, "wait")
    (finish,) = wait_for_finish(incoming)
    assert finish.parameters == {"id": ticket, "backendSecret": incoming.calls[0].parameters["backendSecret"]}
    assert dynamic.contents() == {"big file.bin": b"content"}
    assert not incoming.file_of(ticket).exists()


@pytest.mark.promise(126)
def test_the_delay_is_a_minimum(start_example: StartExample, incoming: FakeIncoming) -> None:
    dynamic = start_example(2, "--delay", "0.5")
    ticket = new_ticket(dynamic, incoming)
    began = time.monotonic()
    assert incoming.hand_over(ticket, b"content").text == "wait"
    wait_for_finish(incoming)
    assert time.monotonic() - began >= 0.5


@pytest.mark.promise(126)
def test_finish_is_repeated_until_the_server_is_back(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(dynamic, incoming)
    incoming.failures += [(503, "starting"), (500, "oops"), (429, "slowly")]
    incoming.hand_over(ticket, b"content")
    calls = wait_for_finish(incoming, 4)
    assert {call.parameters["id"] for call in calls} == {ticket}
    wait_until(lambda: f"upload {ticket} is finished" in dynamic.log, "the app to hear that it is finished")
    assert len(incoming.calls_of("finish_upload")) == 4


@pytest.mark.promise(126)
def test_finish_is_not_repeated_when_the_server_refuses(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(dynamic, incoming)
    incoming.failures.append((404, "unknown upload"))
    incoming.hand_over(ticket, b"content")
    wait_until(lambda: "HTTP status 404: unknown upload" in dynamic.log, "the refusal in the log")
    wait_until(lambda: incoming.call_back(ticket).text == "done", "the ticket to be closed")
    assert len(incoming.calls_of("finish_upload")) == 1


@pytest.mark.promise(126)
def test_a_repeated_callback_gets_the_same_answer(start_example: StartExample, incoming: FakeIncoming) -> None:
    dynamic = start_example(2, "--delay", "0.5")
    ticket = new_ticket(dynamic, incoming)
    incoming.store(ticket, b"content")
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(incoming.call_back(ticket).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["wait"] * 4
    wait_for_finish(incoming)
    wait_until(lambda: incoming.call_back(ticket).text == "done", "done, now that it is")
    assert dynamic.contents() == {"file.txt": b"content"}
    assert len(incoming.calls_of("finish_upload")) == 1


@pytest.mark.promise(125)
def test_an_unknown_id_is_404(dynamic: ExampleApp) -> None:
    fields = {"id": "nobody", "backendSecret": "", "filename": "/etc/passwd", "cancelled": "no"}
    answer = requests.post(f"{dynamic.url}/api/backend/upload_finished", data=fields, timeout=30)
    assert answer.status_code == 404


@pytest.mark.promise(125)
@pytest.mark.parametrize("secret", ["", "wrong", "sécrèt"])
def test_a_wrong_secret_is_418(dynamic: ExampleApp, incoming: FakeIncoming, secret: str) -> None:
    ticket = new_ticket(dynamic, incoming)
    incoming.store(ticket, b"content")
    for forged in ({}, {"cancelled": "yes"}):
        answer = incoming.call_back(ticket, backendSecret=secret, **forged)
        assert answer.status_code == 418
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert incoming.call_back(ticket).text == "wait", "the true callback comes after the false ones and is believed"


def test_a_cancelled_upload_is_logged(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    ticket = new_ticket(dynamic, incoming)
    for _ in range(2):
        answer = incoming.call_back(ticket, cancelled="yes", cancelReason="cancelled by the user", filename="")
        assert (answer.status_code, answer.text) == (200, "")
    assert dynamic.log.count("was cancelled: 'cancelled by the user'") == 1
    assert incoming.calls_of("finish_upload") == []


@pytest.mark.promise(118, 124)
def test_uploaded_files_as_json(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    assert json.loads(dynamic.get("/api/frontend/uploads").text) == {"uploads": []}
    incoming.hand_over(new_ticket(dynamic, incoming, "größer & ☃.bin"), b"x" * 2000)
    wait_for_finish(incoming)
    (found,) = json.loads(dynamic.get("/api/frontend/uploads").text)["uploads"]
    assert (found["name"], found["size"]) == ("größer & ☃.bin", "2.00 kB")
    assert dynamic.get("/" + found["url"]).content == b"x" * 2000


@pytest.mark.promise(121)
def test_many_tickets_can_be_requested_at_once(dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    tickets = [new_ticket(dynamic, incoming, "same name.bin") for _ in range(10)]
    threads = [threading.Thread(target=incoming.hand_over, args=(ticket, ticket.encode())) for ticket in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_finish(incoming, 10)
    numbered = {"same name.bin"} | {f"same name ({number}).bin" for number in range(2, 11)}
    contents = dynamic.contents()
    assert set(contents) == numbered
    assert sorted(contents.values()) == sorted(ticket.encode() for ticket in tickets)
