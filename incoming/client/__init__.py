"""What programs use of Incoming!!: Tickets and Handover for an application's backend, Uploader for who sends files.

Needs nothing but Python, but for the Uploader, which needs the extra `client`. Imports neither the server nor Tornado.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from incoming.client.errors import (
    ForeignPath,
    NewerError,
    NotGenuine,
    NotTheServer,
    TargetExists,
    UnknownUpload,
    Unreachable,
)
from incoming.client.handover import Callback, Handover
from incoming.client.take_file import take_file
from incoming.client.tickets import AsyncTickets, Tickets
from incoming.core.errors import UploadError

if TYPE_CHECKING:
    from incoming.client.upload.address import BadAddress
    from incoming.client.upload.retrying import GaveUp
    from incoming.client.upload.source_file import SourceChanged
    from incoming.client.upload.uploader import Uploader

__all__ = [
    "AsyncTickets",
    "BadAddress",
    "Callback",
    "ForeignPath",
    "GaveUp",
    "Handover",
    "NewerError",
    "NotGenuine",
    "NotTheServer",
    "SourceChanged",
    "TargetExists",
    "Tickets",
    "UnknownUpload",
    "Unreachable",
    "UploadError",
    "Uploader",
    "take_file",
]


_UPLOADING = {"BadAddress": "address", "GaveUp": "retrying", "SourceChanged": "source_file", "Uploader": "uploader"}


def __getattr__(name: str) -> Any:
    """Import what sends files when it is asked for (PEP 562): backends do without its packages."""
    if name in _UPLOADING:
        return getattr(import_module(f"incoming.client.upload.{_UPLOADING[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
