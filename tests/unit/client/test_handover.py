"""What an application believes: calls that are signed with the secret, not long ago, about the upload's own file."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from incoming.callbacks import payload
from incoming.client import ForeignPath, Handover, NotGenuine, UnknownUpload
from incoming.client.handover import TOLERANCE
from incoming.core import ticket as tickets
from incoming.core.ticket_options import FORMATS
from incoming.wire.callback_signature import signature

ID = "1b2c3d4e-0000-4000-8000-000000000000"
NOW = 1_800_000_000


def call(
    path: str = "",
    *,
    secret: str = "geheim ü",
    cancelled: bool = False,
    is_test: bool = False,
    at: int = NOW,
    format_: str = "form",
) -> tuple[dict[str, str], bytes]:
    """Headers and body as the server makes them."""
    ticket = tickets.Ticket(
        id=ID,
        options=tickets.TicketOptions("http://app/", backend_secret=secret, signal_finish_format=format_),
        identity=tickets.Identity(name="a/ü & b.txt", metadata="album c29tZQ=="),
        location=tickets.Location("file", path),
        reason="no time" if cancelled else "",
        created_at=0.0,
        active_at=0.0,
        state_since=0.0,
    )
    callback = tickets.Callback(id="d1", cancelled=cancelled, since=0.0, due_at=0.0, attempts=2)
    body = payload.content(ticket, callback, is_test=is_test)
    return payload.headers(ticket, callback, body, at, is_test=is_test), body


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    directory = tmp_path / "storage"
    (directory / "1b").mkdir(parents=True)
    return directory


@pytest.fixture
def file(storage: Path) -> Path:
    path = storage / "1b" / ID
    path.write_bytes(b"content")
    return path


@pytest.fixture
def handover(storage: Path) -> Handover:
    return Handover(storage, "geheim ü", clock=lambda: NOW)


@pytest.mark.parametrize("format_", FORMATS)
def test_what_the_server_says_is_read(handover: Handover, format_: str) -> None:
    told = handover.verify(*call("/storage/x\udcff", format_=format_))
    assert (told.id, told.filename, told.name) == (ID, "/storage/x\udcff", "ü & b.txt")
    assert (told.cancelled, told.is_test, told.delivery) == (False, False, "d1")
    assert told.fields["cancelReason"] == ""
    assert told.metadata == {"album": "some"}
    cancelled = handover.verify(*call(cancelled=True, format_=format_))
    assert (cancelled.cancelled, cancelled.cancel_reason) == (True, "no time")
    assert handover.verify(*call(is_test=True, format_=format_)).is_test


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"id": "x"}', b"{" * 100_000, b'{"id": "\xff"}'])
def test_a_body_that_is_no_callback_is_not_genuine(handover: Handover, body: bytes) -> None:
    with pytest.raises(UnknownUpload, match="the body "):
        handover.verify({"Content-Type": "application/json"}, body)


def test_headers_may_be_a_list_in_any_case(handover: Handover) -> None:
    headers, body = call()
    assert handover.verify([(name.upper(), value) for name, value in headers.items()], body).delivery == "d1"


@pytest.mark.parametrize(
    "forge",
    [
        lambda headers, body: (headers, body + b"&x=y"),
        lambda headers, body: (headers, body.replace(b"cancelled=no", b"cancelled=yes")),
        lambda headers, body: (headers | {"Incoming-Signature": ""}, body),
        lambda headers, body: (headers | {"Incoming-Signature": "sha256=ü\udcff"}, body),
        lambda headers, body: (headers | {"Incoming-Timestamp": str(NOW + 1)}, body),
        lambda headers, body: (headers | {"Incoming-Timestamp": "-1"}, body),
        lambda headers, body: (headers | {"Incoming-Timestamp": "١٢٣"}, body),
        lambda headers, body: (headers | {"Incoming-Timestamp": "9" * 4000}, body),
        lambda headers, body: ({}, body),
        lambda headers, body: (headers | {"Incoming-Signature": signature("", NOW, body)}, body),
    ],
)
def test_a_forged_call_is_not_genuine(
    handover: Handover, forge: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]]
) -> None:
    with pytest.raises(NotGenuine):
        handover.verify(*forge(*call()))


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"id=" + ID.encode(), b"cancelled=no"])
def test_what_is_no_callback_is_not_genuine(handover: Handover, body: bytes) -> None:
    headers = {"Incoming-Timestamp": str(NOW), "Incoming-Signature": signature("geheim ü", NOW, body)}
    with pytest.raises(NotGenuine):
        handover.verify(headers, body)


@pytest.mark.parametrize(("late", "believed"), [(TOLERANCE, True), (TOLERANCE + 1, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_old_call_is_not_genuine(handover: Handover, late: float, believed: bool, sign: int) -> None:
    signed = call(at=NOW + sign * int(late))
    if believed:
        assert handover.verify(*signed).id == ID
    else:
        with pytest.raises(NotGenuine, match="the limit is 300 s"):
            handover.verify(*signed)


def test_each_upload_may_have_its_own_secret(storage: Path) -> None:
    handover = Handover(storage, {ID: "own"}.get, clock=lambda: NOW)
    assert handover.verify(*call(secret="own")).id == ID
    with pytest.raises(NotGenuine):
        handover.verify(*call())
    body = urlencode({"id": "another", "cancelled": "no"}).encode()
    with pytest.raises(UnknownUpload):
        handover.verify({}, body)


def test_no_secret_is_no_secret(storage: Path) -> None:
    with pytest.raises(NotGenuine):
        Handover(storage, "", clock=lambda: NOW).verify(*call(secret=""))


def test_a_trial_is_verified_where_its_secret_is_known(storage: Path, handover: Handover) -> None:
    assert handover.verify(*call(is_test=True)).is_test
    with pytest.raises(NotGenuine):
        handover.verify(*call(is_test=True, secret="wrong"))
    by_id = Handover(storage, lambda _: None, clock=lambda: NOW)
    trial = by_id.verify(*call(is_test=True))
    assert trial.is_test
    with pytest.raises(ForeignPath):
        by_id.take(trial, storage / "target")


def test_a_file_is_taken_once_however_often_it_is_called(handover: Handover, file: Path, tmp_path: Path) -> None:
    told = handover.verify(*call(str(file)))
    for _ in range(3):
        assert handover.take(told, tmp_path / "taken").read_bytes() == b"content"
    assert not file.exists()


def test_a_file_that_is_gone_was_not_taken(handover: Handover, file: Path, tmp_path: Path) -> None:
    told = handover.verify(*call(str(file)))
    file.unlink()
    with pytest.raises(ForeignPath):
        handover.take(told, tmp_path / "taken")


def test_a_cancelled_upload_has_no_file(handover: Handover, tmp_path: Path) -> None:
    with pytest.raises(ForeignPath):
        handover.take(handover.verify(*call(cancelled=True)), tmp_path / "taken")


@pytest.mark.parametrize(
    "forged",
    [
        "/etc/passwd",
        "",
        "{storage}/1b/../../private/{id}",
        "{storage}/incoming.sqlite",
        "{storage}/1b",
        "{storage}/link/{id}",
        "{storage}/link-to-file/{id}",
        "1b/{id}",
        "{storage}/1b/{id}\0.txt",
        "/x" * 5000,
    ],
)
def test_a_path_elsewhere_is_refused_whatever_its_signature(
    handover: Handover, file: Path, storage: Path, tmp_path: Path, forged: str
) -> None:
    private = tmp_path / "private" / ID
    private.parent.mkdir()
    private.write_text("private")
    (storage / "incoming.sqlite").touch()
    (storage / "link").symlink_to(private.parent)
    (storage / "link-to-file").mkdir()
    (storage / "link-to-file" / ID).symlink_to(private)
    told = handover.verify(*call(forged.format(storage=storage, id=ID)))
    with pytest.raises(ForeignPath):
        handover.take(told, tmp_path / "taken")
    assert (private.read_text(), file.read_bytes()) == ("private", b"content")
    assert not (tmp_path / "taken").exists()


def test_a_storage_directory_behind_a_link_is_the_same(file: Path, storage: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(storage)
    handover = Handover(tmp_path / "alias", "geheim ü", clock=lambda: NOW)
    told = handover.verify(*call(str(tmp_path / "alias" / "1b" / ID)))
    assert handover.take(told, tmp_path / "taken").read_bytes() == b"content"


def test_rests_are_removed_at_the_start(handover: Handover, tmp_path: Path) -> None:
    (tmp_path / ".killed.part").touch()
    handover.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["storage"]
