"""What an application asks for with a ticket. Knows nothing of what becomes of the upload."""

from __future__ import annotations

from dataclasses import dataclass

FORM, JSON = FORMATS = ("form", "json")
"""How a callback's body can be written."""


@dataclass(frozen=True, slots=True)
class TicketOptions:
    """What the app's backend asked for when it fetched the ticket; never changes afterwards.

    `max_size` is in bytes and `max_rate` in bytes a second, 0 for none; `allowed_origins` and `allowed_types` are empty
    when the app does not narrow them. `digest` is `sha-256`, or `sha-256=` and the expected one in hexadecimal digits.
    `signal_finish_format` is one of FORMATS.
    `dest_key` is the object's key below the store's prefix; empty for the ticket's id.
    """

    signal_finish_url: str
    backend_secret: str = ""
    secret_optional: bool = False
    remove_file_when_finished: bool = True
    dest_type: str = "file"
    max_size: int = 0
    max_rate: int = 0
    allowed_origins: tuple[str, ...] = ()
    allowed_types: tuple[str, ...] = ()
    requested_by: str = ""
    digest: str = ""
    signal_finish_format: str = "form"
    traceparent: str = ""
    """The trace that the ticket was requested in (W3C Trace Context), with `tracestate`; empty if there was none."""
    tracestate: str = ""
    direct: bool = True
    """Whether clients may send parts straight to the store, where the operator allows it."""
    dest_key: str = ""

    @property
    def trace(self) -> dict[str, str]:
        """The trace's id for the log, if there is a trace."""
        return {"trace_id": self.traceparent.split("-")[1]} if self.traceparent else {}

    @property
    def expected_digest(self) -> str:
        """What the complete file must have; empty if anything."""
        return self.digest.partition("=")[2]
