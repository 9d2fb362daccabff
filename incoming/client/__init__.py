"""What programs use of Incoming!!: for an application's backend, Tickets and Handover.

Needs nothing but Python: it imports neither the server nor Tornado.
"""

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

__all__ = [
    "AsyncTickets",
    "Callback",
    "ForeignPath",
    "Handover",
    "NewerError",
    "NotGenuine",
    "NotTheServer",
    "TargetExists",
    "Tickets",
    "UnknownUpload",
    "Unreachable",
    "UploadError",
    "take_file",
]
