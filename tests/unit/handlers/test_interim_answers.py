"""Interim answers: at most one a second, and none to a client that does not read."""

from types import SimpleNamespace
from typing import Any

from incoming.handlers.upload.offset_protocols.interim_answers import INTERIM_INTERVAL, InterimAnswers
from incoming.wire.resumable_upload import VERSIONS


class Stream:
    """A connection of which the other side reads, or not."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_full = self.is_closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def writing(self) -> bool:
        return self.is_full

    def closed(self) -> bool:
        return self.is_closed


def answers(version: int = 8) -> tuple[InterimAnswers, Stream, Any]:
    stream, clock = Stream(), SimpleNamespace(now=100.0)
    interim: Any = InterimAnswers(stream, VERSIONS[version], lambda: clock.now)  # type: ignore[arg-type]
    return interim, stream, clock


def test_an_interim_answer_has_the_expected_bytes() -> None:
    interim, stream, clock = answers()
    interim.begin("a-ticket", "max-age=5")
    clock.now += INTERIM_INTERVAL
    interim.progress(7)
    assert stream.sent == [
        b"HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Draft-Interop-Version: 8\r\n"
        b"Location: a-ticket\r\nUpload-Limit: max-age=5\r\n\r\n",
        b"HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Draft-Interop-Version: 8\r\nUpload-Offset: 7\r\n\r\n",
    ]


def test_at_most_one_in_an_interval() -> None:
    interim, stream, clock = answers()
    interim.begin("a", None)
    for offset in range(1, 31):
        clock.now += INTERIM_INTERVAL / 10
        interim.progress(offset)
    assert len(stream.sent) in (3, 4)


def test_none_piles_up_for_a_client_that_does_not_read() -> None:
    interim, stream, clock = answers()
    stream.is_full = True
    for offset in range(10):
        clock.now += INTERIM_INTERVAL
        interim.progress(offset)
    assert stream.sent == []


def test_none_goes_to_a_connection_that_is_closed() -> None:
    interim, stream, clock = answers()
    stream.is_closed = True
    interim.begin("a", None)
    clock.now += INTERIM_INTERVAL
    interim.progress(1)
    assert stream.sent == []


def test_early_versions_get_no_progress() -> None:
    interim, stream, clock = answers(4)
    clock.now += INTERIM_INTERVAL
    interim.progress(1)
    assert stream.sent == []
