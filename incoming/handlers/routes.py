"""Every URL of the server, in one table, under both prefixes."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches, Rule, URLSpec
from tornado.web import Application, RequestHandler

from incoming.handlers.absolute_targets import UploadApplication
from incoming.handlers.backend.functions import CancelUpload, FinishUpload, NewUpload
from incoming.handlers.base import Nowhere, request_logger
from incoming.handlers.library import Health, Library, LibraryFiles
from incoming.handlers.openapi import OpenApi
from incoming.handlers.operator.metrics import Metrics
from incoming.handlers.operator.status_page import StatusNow, StatusPage, status_files
from incoming.handlers.operator.uploads import BulkAction, OperatorAction, UploadDetail
from incoming.handlers.services import Services
from incoming.handlers.upload.offset_protocols.resumable_upload import ResumableUpload
from incoming.handlers.upload.offset_protocols.tus import TusUpload
from incoming.handlers.upload.offset_protocols.tus_parts import TusPart
from incoming.handlers.upload.resumable_put import ResumablePut
from incoming.handlers.upload.uploads_wait import UploadsWait
from incoming.handlers.upload.websocket.upload_socket import UploadSocket
from incoming.handlers.upload.whole_upload import WholeUpload
from incoming.wire.resumable_upload import is_resumable_upload

PREFIX = r"/incoming(?:/0\.1)?"
"""With the version, or without it for older apps."""

UPLOAD = "/frontend/upload/([^/]+)"

ROUTES: tuple[tuple[str, type[RequestHandler]], ...] = (
    ("/backend/new_upload", NewUpload),
    ("/backend/cancel_upload", CancelUpload),
    ("/backend/finish_upload", FinishUpload),
    ("/frontend/upload_ws", UploadSocket),
    (UPLOAD, ResumablePut),
    (UPLOAD + "/whole", WholeUpload),
    ("/frontend/tus/([^/]+)", TusUpload),
    ("/frontend/tus/([^/]+)/([0-9]{1,16}-[0-9]{1,16})", TusPart),
    ("/frontend/tus/([^/]+)/([^/]+)", TusUpload),
    ("/frontend/uploads/wait", UploadsWait),
    (
        r"/frontend/(?:([0-9a-f]{16})/)?((?:incoming(?:-[a-z]+)?|locales/[a-z]+)\.(?:m?js(?:\.map)?|d\.m?ts))",
        Library,
    ),
    ("/health(?:/(live))?", Health),
    (r"/openapi\.json", OpenApi),
    ("/metrics", Metrics),
    (r"/status(?:/(status\.css|(?:status|readable|traffic|dom|actions|address|filters|rows|detail)\.js))?", StatusPage),
    ("/status/now", StatusNow),
    ("/status/uploads/(cancel|retry)", BulkAction),
    ("/status/uploads/([^/]+)", UploadDetail),
    ("/status/uploads/([^/]+)/(cancel|retry)", OperatorAction),
)


class ResumableUploads(PathMatches):
    """The requests to an upload's URL that speak the IETF's dialect."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        if not is_resumable_upload(request.method or "", request.headers):
            return None
        return super().match(request)


def application(services: Services, files: LibraryFiles) -> Application:
    """Return the server's application for one worker; `files` is the library to serve."""
    given: dict[str, Any] = {"services": services}
    return UploadApplication(
        [
            Rule(ResumableUploads(PREFIX + UPLOAD + "$"), ResumableUpload, given),
            *(URLSpec(PREFIX + path, handler, given | _more(handler, files)) for path, handler in ROUTES),
        ],
        default_handler_class=Nowhere,
        default_handler_args=given,
        log_function=request_logger(services),
        websocket_ping_interval=0,
        # Uploads come from pages of other hosts by design, with a ticket and without cookies; caller_access.py decides
        # who may call the backend functions.
        cross_origin_protection=False,
    )


def _more(handler: type[RequestHandler], files: LibraryFiles) -> dict[str, Any]:
    if handler is StatusPage:
        return {"files": status_files()}
    return {"library": files} if handler is Library else {}
