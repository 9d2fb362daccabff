"""new_upload, cancel_upload and finish_upload as the app's backend knows them: texts, codes, names old and new."""

import asyncio
import json
import logging
import uuid
from pathlib import Path
from urllib.parse import urlencode

import pytest

from incoming.core.ticket import Event, State, Ticket
from incoming.handlers.backend.parameter_rules import NEW_UPLOAD
from incoming.handlers.backend.parameters import MAX_BODY
from tests.support.app_stub import Answer, AppStub
from tests.support.one_worker import FORM, OneWorker, one_worker

URL = "http://127.0.0.1:9/done"
PREFIXES = ["/incoming", "/incoming/0.1"]
FUNCTIONS = ["new_upload", "cancel_upload", "finish_upload"]


async def known(worker: OneWorker, ticket_id: str) -> Ticket:
    ticket = await worker.services.tickets.get(ticket_id)
    assert ticket is not None
    return ticket


async def waiting(worker: OneWorker, **given: str) -> str:
    """The id of an upload whose app has said wait."""
    ticket_id = await worker.ticket(**given)
    await worker.upload(ticket_id)
    await worker.services.tickets.update(ticket_id, lambda known: known.move(Event.CALL, 0).answered("wait", 0))
    return ticket_id


# --- new_upload -------------------------------------------------------------------------------------------------------


@pytest.mark.promise(21, 22, 25, 27, 32, 34)
@pytest.mark.parametrize("prefix", PREFIXES)
async def test_new_upload_returns_a_random_uuid(prefix: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        answers = [await worker.call("new_upload", prefix, signalFinishURL=URL) for _ in range(20)]
        assert {status for status, _ in answers} == {200}
        ids = {answer for _, answer in answers}
        assert len(ids) == 20
        for ticket_id in ids:
            assert str(uuid.UUID(ticket_id)) == ticket_id
            assert uuid.UUID(ticket_id).version == 4
        ticket = await known(worker, ids.pop())
        assert (ticket.state, ticket.options.signal_finish_url) == (State.NEW, URL)
        assert ticket.options.requested_by == "127.0.0.1"


async def test_new_upload_keeps_the_callers_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = f"00-{trace}-b7ad6b7169203331-01"
    async with one_worker(tmp_path) as worker:
        found = []
        for fields in ({"traceparent": parent, "tracestate": "a=b"}, {"traceparent": "nonsense", "tracestate": "a=b"}):
            form = urlencode({"signalFinishURL": URL}).encode()
            status, answer = await worker.post("/incoming/backend/new_upload", form, {"Content-Type": FORM, **fields})
            assert status == 200
            found.append((await known(worker, answer)).options)
        assert [(options.traceparent, options.tracestate) for options in found] == [(parent, "a=b"), ("", "")]
    issued = [vars(record) for record in caplog.records if "new_upload" in record.getMessage()]
    assert [record.get("trace_id") for record in issued] == [trace, None]


@pytest.mark.promise(10, 25, 26)
async def test_parameters_by_query_form_multipart_and_json(tmp_path: Path) -> None:
    given = {"signalFinishURL": URL, "backendSecret": " a&b=\N{SNOWMAN} ", "removeFileWhenFinished": "false"}
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in given.items())
    async with one_worker(tmp_path) as worker:
        path = "/incoming/backend/new_upload"
        for status, answer in (
            await worker.post(f"{path}?{urlencode(given)}"),
            await worker.post(path, urlencode(given).encode(), {"Content-Type": FORM}),
            await worker.post(path, f"{parts}--x--\r\n".encode(), {"Content-Type": "multipart/form-data; boundary=x"}),
            await worker.post(path, json.dumps(given).encode(), {"Content-Type": "application/json"}),
        ):
            assert status == 200, answer
            terms = (await known(worker, answer)).options
            assert terms.signal_finish_url == URL
            assert terms.backend_secret == " a&b=\N{SNOWMAN} "
            assert terms.remove_file_when_finished is False


@pytest.mark.promise(27, 28, 29, 33)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "signalFinishURL invalid: it is not given"),
        ({"signalFinishURL": "/relative"}, "signalFinishURL invalid: it must be absolute"),
        ({"signalFinishURL": "ftp://a/"}, "signalFinishURL invalid: it must be absolute"),
        ({"signalFinishURL": URL, "destType": "ceph"}, "destType invalid: only 'file' is supported"),
        ({"signalFinishURL": URL, "removeFileWhenFinished": "maybe"}, "removeFileWhenFinished invalid: "),
        ({"signalFinishURL": URL, "maxSize": "big"}, "maxSize invalid: "),
        ({"signalFinishURL": URL, "maxSize": "5", "fileSize": "6"}, "fileSize invalid: 6 bytes are above maxSize"),
        ({"signalFinishURL": URL, "metadata": "[1]"}, "metadata invalid: it is not a JSON object of strings"),
    ],
)
async def test_bad_parameters_of_new_upload_are_refused(given: dict[str, str], words: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        status, answer = await worker.call("new_upload", **given)
        assert status == 400
        assert answer.startswith(words)
        assert sum((await worker.services.tickets.counts()).values()) == 0


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
async def test_the_app_can_fix_the_identity_of_the_file(content_type: str, tmp_path: Path) -> None:
    metadata = {"folder": "7", "note": "größe"}
    given = {"signalFinishURL": URL, "fileSize": "5", "fileName": "a.txt", "mediaType": "text/plain"}
    body = json.dumps({**given, "fileSize": 5, "metadata": metadata})
    if content_type == FORM:
        body = urlencode({**given, "metadata": json.dumps(metadata)})
    async with one_worker(tmp_path) as worker:
        status, ticket_id = await worker.post(
            "/incoming/backend/new_upload", body.encode(), {"Content-Type": content_type}
        )
        assert status == 200, ticket_id
        identity = (await known(worker, ticket_id)).identity
        assert (identity.size, identity.name, identity.media_type) == (5, "a.txt", "text/plain")
        path = f"/incoming/frontend/upload/{ticket_id}"
        told = json.loads((await worker.fetch("GET", path)).body)
        assert (told["size"], told["name"], told["metadata"]) == (5, "a.txt", metadata)
        other = await worker.fetch("PUT", f"{path}?filename=b", b"123456")
        assert (other.code, other.body) == (
            409, b"not the file that this upload was begun with: its size was 5, now 6"
        )  # fmt: skip
        assert (await worker.fetch("PUT", f"{path}?filename=b", b"12345")).code == 200
        assert (await known(worker, ticket_id)).identity.name == "a.txt"


async def test_an_empty_file_that_the_app_has_announced_arrives_by_an_empty_put(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket(fileSize="0")
        assert await worker.state(ticket_id) == "new"
        assert (await worker.fetch("PUT", f"/incoming/frontend/upload/{ticket_id}", b"")).code == 200
        assert await worker.state(ticket_id) == "arrived"


EMPTY = [
    *(("new_upload", name) for name in NEW_UPLOAD if not NEW_UPLOAD[name].may_be_empty),
    *((function, "id") for function in ("cancel_upload", "finish_upload")),
]


@pytest.mark.parametrize(("function", "name"), EMPTY)
async def test_a_parameter_that_is_given_empty_never_counts_as_not_given(
    function: str, name: str, tmp_path: Path
) -> None:
    async with one_worker(tmp_path) as worker:
        path = f"/incoming/backend/{function}"
        good = {"signalFinishURL": URL} if function == "new_upload" else {}
        as_json = {"Content-Type": "application/json"}
        part = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n\r\n--x--\r\n'
        for status, answer in (
            await worker.post(f"{path}?{urlencode({**good, name: ''})}"),
            await worker.post(path, urlencode({**good, name: ""}).encode(), {"Content-Type": FORM}),
            await worker.post(
                f"{path}?{urlencode(good)}", part.encode(), {"Content-Type": "multipart/form-data; boundary=x"}
            ),
            await worker.post(path, json.dumps({**good, name: ""}).encode(), as_json),
            await worker.post(path, json.dumps({**good, name: None}).encode(), as_json),
            await worker.post(f"{path}?{name}=x", json.dumps({**good, name: None}).encode(), as_json),
        ):
            assert status == 400
            assert answer.startswith(f"{name} invalid: it is "), answer
        assert sum((await worker.services.tickets.counts()).values()) == 0


async def test_unknown_parameters_are_carried_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with one_worker(tmp_path) as worker:
        query = urlencode({"signalFinishURL": URL, "removefilewhenfinished": "false", "x\r\ny": "s3cret"})
        response = await worker.fetch("POST", f"/incoming/backend/new_upload?{query}", b"")
        assert response.code == 200
        told = response.headers.get_list("Incoming-Warning")
        assert told == [
            'unknown parameter "removefilewhenfinished"; did you mean "removeFileWhenFinished"?',
            'unknown parameter "x\\r\\ny"',
        ]
        [logged] = [vars(record) for record in caplog.records if record.levelno == logging.WARNING]
        assert (logged["function"], logged["warning"]) == ("new_upload", "; ".join(told))
        assert "s3cret" not in caplog.text
        response = await worker.fetch("POST", f"/incoming/backend/new_upload?signalFinishUrl={URL}", b"")
        assert (response.code, response.body) == (400, b"signalFinishURL invalid: it is not given")
        assert 'did you mean "signalFinishURL"?' in response.headers["Incoming-Warning"]
        quiet = await worker.fetch("POST", f"/incoming/backend/new_upload?signalFinishURL={URL}", b"")
        assert "Incoming-Warning" not in quiet.headers


# --- trial calls ------------------------------------------------------------------------------------------------------


async def test_a_trial_call_finds_mistakes_before_the_first_byte(tmp_path: Path, app_stub: AppStub) -> None:
    async with one_worker(tmp_path) as worker:
        app_stub.answer_next(Answer(403, "<p>CSRF verification failed.</p>", {"Content-Type": "text/html"}))
        given = {"signalFinishURL": app_stub.url + "?key=hidden", "backendSecret": "s3cret", "testCallback": "yes"}
        status, answer = await worker.call("new_upload", **given)
        assert status == 424
        assert answer == (
            f"the trial call to {app_stub.url} failed: it answered 403 Forbidden: CSRF verification failed. "
            "Cause: Django's CSRF check. Cure: decorate the view with @csrf_exempt"
        )
        assert sum((await worker.services.tickets.counts()).values()) == 0
        status, ticket_id = await worker.call("new_upload", **given)
        assert status == 200
        assert await worker.call("new_upload", **{**given, "testCallback": "no"}) != (200, ticket_id)
    first, second = app_stub.callbacks
    assert (first.headers["incoming-test"], first.params["test"]) == ("yes", "yes")
    assert (first.params["backendSecret"], first.params["cancelled"]) == ("s3cret", "no")
    assert first.params["filename"].startswith(f"{tmp_path}/")
    assert "incoming-signature" in first.headers
    assert len({first.params["id"], second.params["id"], ticket_id}) == 3


async def test_a_trial_call_goes_nowhere_that_callbacks_may_not(tmp_path: Path, app_stub: AppStub) -> None:
    async with one_worker(tmp_path, "--callback-networks", "192.0.2.0/24") as worker:
        status, answer = await worker.call("new_upload", signalFinishURL=app_stub.url, testCallback="yes")
        assert status == 424
        assert "not in the networks that this server may call" in answer
    assert app_stub.callbacks == []


async def test_no_ticket_is_issued_during_a_shutdown(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        await worker.services.upload_service.drain()
        response = await worker.fetch("POST", f"/incoming/backend/new_upload?signalFinishURL={URL}", b"")
        assert response.code == 503
        assert response.headers["Retry-After"] == "1"
        assert "restarting" in response.body.decode()


async def test_no_ticket_is_issued_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--low-space", "1024TiB") as worker:
        response = await worker.fetch("POST", f"/incoming/backend/new_upload?signalFinishURL={URL}", b"")
        assert response.code == 503
        assert int(response.headers["Retry-After"]) > 0


# --- cancel_upload ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(23, 35)
@pytest.mark.parametrize("prefix", PREFIXES)
async def test_cancel_upload_cancels(prefix: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket()
        assert await worker.call("cancel_upload", prefix, id=ticket_id) == (200, "ok")
        ticket = await known(worker, ticket_id)
        assert (ticket.state, ticket.reason) == (State.CANCELLED, "Cancelled by request")
        assert ticket.callback is None  # the app knows already
        assert await worker.call("cancel_upload", prefix, id=ticket_id) == (200, "ok")


@pytest.mark.promise(36)
async def test_a_file_in_the_apps_hands_cannot_be_cancelled(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket()
        await worker.upload(ticket_id)
        status, answer = await worker.call("cancel_upload", id=ticket_id)
        assert status == 412
        assert answer.startswith("too late to cancel")
        assert (await known(worker, ticket_id)).state == State.ARRIVED


# --- finish_upload ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(24, 37, 39)
@pytest.mark.parametrize("prefix", PREFIXES)
async def test_finish_upload_finishes(prefix: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await waiting(worker)
        assert await worker.call("finish_upload", prefix, id=ticket_id) == (200, "ok")
        assert await worker.state(ticket_id) == "finished"
        assert await worker.call("finish_upload", prefix, id=ticket_id) == (200, "ok")


async def test_finish_upload_in_the_wrong_state_is_refused(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket()
        status, answer = await worker.call("finish_upload", id=ticket_id)
        assert (status, answer) == (412, "uploader is not in 'handing over' state but in 'new'")
        await worker.call("cancel_upload", id=ticket_id)
        assert (await worker.call("finish_upload", id=ticket_id))[0] == 412


@pytest.mark.promise(39, 57, 59)
async def test_finish_upload_reaches_the_browser_at_once(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await waiting(worker)
        poll = asyncio.ensure_future(
            worker.fetch("GET", f"/incoming/frontend/upload/{ticket_id}?wait=20&state=waiting")
        )
        assert await worker.call("finish_upload", id=ticket_id) == (200, "ok")
        assert json.loads((await poll).body)["state"] == "finished"


# --- ids and secrets --------------------------------------------------------------------------------------------------


@pytest.mark.promise(33)
@pytest.mark.parametrize("function", ["cancel_upload", "finish_upload"])
async def test_bad_ids_are_refused(function: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        assert await worker.call(function) == (400, "id not given")
        assert await worker.call(function, id="") == (400, "id invalid: it is empty")
        for unknown in (str(uuid.uuid4()), "x", "../../etc/passwd", "a" * 10_000, "\0", "\N{SNOWMAN}"):
            assert await worker.call(function, id=unknown) == (400, "id unknown")


@pytest.mark.promise(30, 35, 37, 40)
@pytest.mark.parametrize("function", ["cancel_upload", "finish_upload"])
async def test_the_secret_must_be_right(function: str, tmp_path: Path) -> None:
    secret = " s\N{SNOWMAN}cret+& "
    async with one_worker(tmp_path) as worker:
        ticket_id = await waiting(worker, backendSecret=secret)
        before = await known(worker, ticket_id)
        for wrong in ({}, {"backendSecret": ""}, {"backendSecret": secret.strip()}, {"secret": "x"}):
            assert await worker.call(function, id=ticket_id, **wrong) == (403, "backendSecret not given or wrong")
        assert await known(worker, ticket_id) == before
        for name in ("backendSecret", "signalFinishSecret", "secret"):
            assert (await worker.call(function, id=ticket_id, **{name: secret}))[0] in (200, 412)


async def test_a_ticket_without_secret_takes_none(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket()
        assert (await worker.call("cancel_upload", id=ticket_id, backendSecret="x"))[0] == 403
        assert (await worker.call("cancel_upload", id=ticket_id, backendSecret=""))[0] == 200


@pytest.mark.promise(31, 38)
async def test_apps_with_the_older_name_finish_without_a_secret(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await waiting(worker, signalFinishSecret="s")
        assert (await worker.call("finish_upload", id=ticket_id, backendSecret="wrong"))[0] == 403
        assert await worker.call("finish_upload", id=ticket_id) == (200, "ok")
        other_id = await worker.ticket(signalFinishSecret="s")
        assert (await worker.call("cancel_upload", id=other_id, secret="wrong"))[0] == 403
        assert await worker.call("cancel_upload", id=other_id) == (200, "ok")


async def test_the_operator_can_require_the_secret_of_older_apps(tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--finish-requires-secret") as worker:
        ticket_id = await waiting(worker, signalFinishSecret="s")
        assert (await worker.call("finish_upload", id=ticket_id))[0] == 403
        assert (await worker.call("finish_upload", id=ticket_id, secret="s"))[0] == 200


# --- how errors look, and who is let in -------------------------------------------------------------------------------


@pytest.mark.promise(33)
async def test_errors_are_json_on_request(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        path = "/incoming/backend/cancel_upload?id=x"
        plain = await worker.fetch("POST", path, b"")
        assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
        response = await worker.fetch("POST", path, b"", {"Accept": "text/html, application/json;q=0.9"})
        assert response.code == 400
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert json.loads(response.body) == {
            "code": 201,
            "name": "unknown_id",
            "message": "id unknown",
            "retry": False,
            "retry_after": None,
        }


JSON = {"Accept": "application/json"}


async def test_answers_are_json_on_request(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:

        async def answer(function: str, **given: str) -> object:
            response = await worker.fetch("POST", f"/incoming/0.1/backend/{function}?{urlencode(given)}", b"", JSON)
            assert response.code == 200, response.body
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            return json.loads(response.body)

        created = await answer("new_upload", signalFinishURL=URL, maxsize="1")
        assert isinstance(created, dict)
        ticket_id = created["ticket"]
        assert (await known(worker, ticket_id)).options.max_size == 0
        warnings = ['unknown parameter "maxsize"; did you mean "maxSize"?']
        assert created == {"ticket": ticket_id, "warnings": warnings}
        cancelled = {"ticket": ticket_id, "state": "cancelled", "warnings": []}
        assert await answer("cancel_upload", id=ticket_id) == cancelled
        waits = await waiting(worker)
        finished = {"ticket": waits, "state": "finished", "warnings": []}
        assert await answer("finish_upload", id=waits) == finished


@pytest.mark.parametrize("accept", ["*/*", "application/json, text/plain, */*", "text/plain"])
async def test_clients_that_also_take_text_get_text(accept: str, tmp_path: Path) -> None:
    """Axios accepts JSON and text unasked; its users have read the ticket as text."""
    async with one_worker(tmp_path) as worker:
        path = f"/incoming/0.1/backend/new_upload?{urlencode({'signalFinishURL': URL})}"
        response = await worker.fetch("POST", path, b"", {"Accept": accept})
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert uuid.UUID(response.body.decode()).version == 4


async def test_tickets_come_in_batches(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        status, text = await worker.call("new_upload", signalFinishURL=URL, count="100", maxSize="7")
        tickets = text.splitlines()
        assert (status, len(set(tickets))) == (200, 100)
        assert {(await known(worker, ticket)).options.max_size for ticket in tickets} == {7}
        body = json.dumps({"signalFinishURL": URL, "count": 2}).encode()
        headers = {**JSON, "Content-Type": "application/json"}
        described = json.loads((await worker.fetch("POST", "/incoming/0.1/backend/new_upload", body, headers)).body)
        assert described["ticket"] == described["tickets"][0]
        assert len({(await known(worker, ticket)).id for ticket in described["tickets"]}) == 2
        assert len((await worker.call("new_upload", signalFinishURL=URL, count="1"))[1].splitlines()) == 1


async def test_a_batch_is_issued_whole_or_not_at_all(tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--max-tickets", "5") as worker:
        assert (await worker.call("new_upload", signalFinishURL=URL, count="6"))[0] == 503
        assert sum((await worker.services.tickets.counts()).values()) == 0
        assert (await worker.call("new_upload", signalFinishURL=URL, count="5"))[0] == 200


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
async def test_only_post_is_allowed(method: str, function: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        for prefix in PREFIXES:
            response = await worker.fetch(method, f"{prefix}/backend/{function}?signalFinishURL={URL}")
            assert response.code == 405
            assert response.headers["Allow"] == "POST"
            assert response.headers["Server"] == "Incoming"
        assert sum((await worker.services.tickets.counts()).values()) == 0


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_every_function_is_closed_to_others(function: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket_id = await worker.ticket()
        for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            for path in (f"/incoming/backend/{function}", f"/incoming/0.1/backend/{function}"):
                body = urlencode({"id": ticket_id, "signalFinishURL": URL}).encode()
                response = await worker.fetch("POST", path, body, {"Content-Type": FORM, **headers})
                assert response.code == 403
                assert "Access-Control-Allow-Origin" not in response.headers
        assert (await known(worker, ticket_id)).state == State.NEW
        assert sum((await worker.services.tickets.counts()).values()) == 1


async def test_with_a_token_every_call_needs_it(tmp_path: Path) -> None:
    token = "correct-horse-battery"
    async with one_worker(tmp_path, "--backend-token", token) as worker:
        path = f"/incoming/backend/new_upload?signalFinishURL={URL}"
        assert (await worker.post(path))[0] == 403
        assert (await worker.post(path, headers={"Authorization": f"Bearer {token}x"}))[0] == 403
        assert (await worker.post(path, headers={"Authorization": f"Bearer {token}"}))[0] == 200


@pytest.mark.parametrize("excess", [0, 1, 10 * MAX_BODY])
async def test_the_body_has_a_limit(excess: int, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        body = urlencode({"signalFinishURL": URL, "filler": ""}).encode()
        body += b"x" * (MAX_BODY - len(body) + excess)
        status, answer = await worker.post("/incoming/backend/new_upload", body, {"Content-Type": FORM})
        assert (status, answer if excess else "") == (
            (413, f"the body is larger than {MAX_BODY} bytes") if excess else (200, "")
        )


# --- together with a real app -----------------------------------------------------------------------------------------


@pytest.mark.promise(2, 8, 9, 45, 56)
async def test_an_upload_passes_from_ticket_to_finished(tmp_path: Path, app_stub: AppStub) -> None:
    async with one_worker(tmp_path) as worker:
        handover = asyncio.ensure_future(worker.services.callbacks.run())
        status, ticket_id = await worker.call("new_upload", signalFinishURL=app_stub.url, backendSecret="s")
        assert status == 200
        await worker.upload(ticket_id, b"content")
        poll = await worker.fetch("GET", f"/incoming/frontend/upload/{ticket_id}?wait=20&state=arrived")
        while json.loads(poll.body)["state"] != "finished":
            state = json.loads(poll.body)["state"]
            poll = await worker.fetch("GET", f"/incoming/frontend/upload/{ticket_id}?wait=20&state={state}")
        assert await worker.call("finish_upload", id=ticket_id, backendSecret="s") == (200, "ok")
        await worker.services.callbacks.stop(1)
        await handover
    assert app_stub.callbacks[0].params["id"] == ticket_id
