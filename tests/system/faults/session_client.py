"""A client that stops when another one takes its upload over, and records which bytes it had to send.

Several of them may send different files under one ticket, which a server cannot notice without fingerprints. It can
still be said which bytes the file must have: each byte is of the last session that was told that it is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from incoming.core.errors import HandoverFailed, TakenOver, UploadCancelled
from incoming.core.extents import Extents, Range
from tests.support.upload_client import UploadClient

TAKEN_OVER = "taken over"

_ENDS = {TakenOver.code: TAKEN_OVER, UploadCancelled.code: "cancelled", HandoverFailed.code: "failed"}


class Ended(Exception):
    """Nothing more is to be sent; the argument is the state."""


@dataclass(frozen=True)
class Welcome:
    """The start of a session: the epoch (-1 for clients without one) and the missing bytes."""

    epoch: int
    content: bytes
    missing: Extents


class SessionClient(UploadClient):
    """`fingerprint` is sent with each hello if given; `welcomed` is called with every welcome."""

    def __init__(
        self, *args: Any, fingerprint: str | None = None, welcomed: Callable[[Welcome], None], **others: Any
    ) -> None:
        super().__init__(*args, **others)
        self._fingerprint = fingerprint
        self._welcomed = welcomed

    async def run(self) -> str:
        try:
            return await super().run()
        except Ended as end:
            self.state = str(end)
            return self.state

    def _hello(self) -> dict[str, Any]:
        hello = super()._hello()
        return hello if self._fingerprint is None else {**hello, "fingerprint": self._fingerprint}

    def _see(self, extents: list[Range], state: str) -> None:
        if state == "uploading":
            there = Extents((start, end) for start, end in extents)
            missing = Extents(there.missing(0, len(self.content)))
            self._welcomed(Welcome(-1 if self._epoch is None else self._epoch, self.content, missing))
        super()._see(extents, state)

    def _complain(self, problem: dict[str, Any]) -> None:
        if problem["code"] in _ENDS:
            self.errors[problem["code"]] += 1
            raise Ended(_ENDS[problem["code"]])
        super()._complain(problem)


def expected_content(first: bytes, welcomes: list[Welcome]) -> bytes:
    """Return the expected file: `first`, overwritten by the ranges of later sessions in the order of their epochs."""
    content = bytearray(first)
    for welcome in sorted(welcomes, key=lambda one: one.epoch):
        for start, end in welcome.missing:
            content[start:end] = welcome.content[start:end]
    return bytes(content)
