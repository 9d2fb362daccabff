"""The scripted web application."""

import threading

import pytest
import requests

from tests.support.app_stub import DROP, Answer, AppStub, Script


def post(stub: AppStub, **params: str) -> requests.Response:
    return requests.post(stub.url, data=params, timeout=10)


def test_records_what_came(app_stub: AppStub) -> None:
    requests.post(app_stub.url + "?id=7&key=a%20b", data={"id": "8", "secret": ""}, headers={"X-Y": "z"}, timeout=10)
    [callback] = app_stub.wait_for(1, upload_id="8")
    assert callback.method == "POST"
    assert callback.path == "/api/backend/upload_finished"
    assert callback.query == {"id": "7", "key": "a b"}
    assert callback.params == {"id": "8", "key": "a b", "secret": ""}
    assert callback.headers["x-y"] == "z"


def test_answers_by_script_and_then_by_default() -> None:
    script: list[Script] = [
        "wait",
        (503, "later"),
        Answer(302, "", {"Location": "/x"}),
        lambda callback: callback.params["id"],
    ]
    with AppStub(script, default=(404, "gone")) as stub:
        given = [requests.post(stub.url, data={"id": "5"}, timeout=10, allow_redirects=False) for _ in range(5)]
    assert [(answer.status_code, answer.text) for answer in given] == [
        (200, "wait"),
        (503, "later"),
        (302, ""),
        (200, "5"),
        (404, "gone"),
    ]
    assert given[2].headers["Location"] == "/x"


def test_drops_connections(app_stub: AppStub) -> None:
    app_stub.answer_next(DROP)
    with pytest.raises(requests.ConnectionError):
        post(app_stub)
    assert post(app_stub).text == "done"


def test_holds_answers_back(app_stub: AppStub) -> None:
    app_stub.hold()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(post(app_stub, id="1").text))
    asking.start()
    app_stub.wait_for(1)
    assert not answers
    app_stub.release()
    asking.join()
    assert answers == ["done"]


def test_refuses_connections_while_stopped(app_stub: AppStub) -> None:
    app_stub.stop()
    with pytest.raises(requests.ConnectionError):
        post(app_stub)
    app_stub.start()
    assert post(app_stub).text == "done"
    assert len(app_stub.callbacks) == 1
