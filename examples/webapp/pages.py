"""The examples' HTTP answers: pages, errors, static files, downloads. Decides their headers and what they may load.

A page may run its own scripts and the one of the Incoming!! server, and talk to these two hosts; nothing else. A file
that somebody has uploaded is only ever saved by the browser, never shown: it could be a web page.
"""

import re
import secrets
import socketserver
import urllib.parse
import wsgiref.simple_server
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import bottle
import click

from webapp.command_line import Settings
from webapp.uploads_folder import StoredFile, UploadsFolder

_HERE = Path(__file__).resolve().parent

# A host name, an IPv4 or a bracketed IPv6 address. Nothing else out of a Host header gets into a page or a policy.
_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")

_MAX_FORM = 64 * 1024  # bytes; the server's callbacks are far shorter
_LENGTH = re.compile(r"[0-9]{0,18}", re.ASCII)

_NOTHING_BUT_OUR_STYLE = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
_HEADERS_OF_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": _NOTHING_BUT_OUR_STYLE,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",  # a page with a ticket in it is good for one upload
}


def new_app() -> bottle.Bottle:
    """A Bottle application with the static files and error pages that the examples share."""
    app = bottle.Bottle()
    app.default_error_handler = _error_page

    @app.hook("before_request")
    def only_real_lengths() -> None:  # Bottle takes it for granted
        if not _LENGTH.fullmatch(bottle.request.environ.get("CONTENT_LENGTH", "")):
            bottle.abort(400, "The Content-Length is not a number of bytes.")

    @app.get("/static/<name>")
    def static_file(name: str) -> bottle.HTTPResponse:
        return bottle.static_file(name, root=str(_HERE / "static"), headers={"Cache-Control": "no-cache"})

    return app


def page(folder: Path, settings: Settings, connect_to: str = "", **values: Any) -> str:
    """Render the template of an example's folder, with the policy that lets it reach the Incoming!! server.

    `connect_to` is a further origin that it may send to.
    """
    scheme = "https" if bottle.request.urlparts.scheme == "https" else "http"
    incoming_host = settings.public_incoming_host or _incoming_host_beside_us(settings)
    nonce = secrets.token_urlsafe(16)
    bottle.response.set_header("Content-Security-Policy", _policy(scheme, incoming_host, nonce, connect_to))
    return bottle.template(
        "frontend_tmpl.html",
        template_lookup=[str(folder)],
        scheme=scheme,
        public_incoming_host=incoming_host,
        nonce=nonce,
        download_url=download_url,
        human_size=human_size,
        **values,
    )


def download(uploads: UploadsFolder, name: str) -> bottle.HTTPResponse:
    """An uploaded file, to be saved under its name."""
    path = uploads.find(name)
    if path is None:
        bottle.abort(404, "There is no such file.")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{urllib.parse.quote(path.name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return bottle.static_file(path.name, root=str(path.parent), mimetype="application/octet-stream", headers=headers)


def form_bytes() -> bytes:
    """The request's body as it came, which is what a signature is about."""
    length = bottle.request.content_length  # -1 without one
    if not 0 <= length <= _MAX_FORM:
        bottle.abort(400 if length < 0 else 413, "This is no callback of the Incoming!! server.")
    return bottle.request.body.read()


def plain_text(text: str) -> str:
    """Answer a program, not a person."""
    bottle.response.content_type = "text/plain; charset=utf-8"
    return text


def download_url(file: StoredFile) -> str:
    return "uploads/" + urllib.parse.quote(file.name, safe="")


def human_size(size: float) -> str:
    """1234567 is "1.23 MB"."""
    if size < 1000:
        return f"{size:.0f} bytes" if size != 1 else "1 byte"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    return f"{size:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f} {unit}"


def serve(app: bottle.Bottle, settings: Settings) -> None:
    """Listen until Ctrl-C, one thread for each connection."""
    try:
        server = wsgiref.simple_server.make_server(
            settings.address, settings.port, _with_headers(app), _ThreadingServer, _QuietHandler
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on {settings.address}:{settings.port}: {error}") from error
    print(f"Open http://{settings.public_app_host}/ in your browser. Ctrl-C ends the app.", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Bye.")


class _ThreadingServer(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _QuietHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: what matters to the examples they log themselves."""


def _incoming_host_beside_us(settings: Settings) -> str:
    """The host that the browser asked for, with the Incoming!! server's port."""
    name = bottle.request.urlparts.netloc
    name = name if name.endswith("]") else name.rpartition(":")[0] or name
    if not _HOST_NAME.fullmatch(name):
        bottle.abort(400, "The Host header is not a host's name.")
    port = urllib.parse.urlsplit(f"//{settings.internal_incoming_host}").port
    return f"{name}:{port}" if port else name


def _policy(scheme: str, incoming_host: str, nonce: str, connect_to: str) -> str:
    socket_scheme = "wss" if scheme == "https" else "ws"
    further = f" {connect_to}" if connect_to else ""
    return (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{nonce}' {scheme}://{incoming_host}; "
        f"connect-src 'self' {scheme}://{incoming_host} {socket_scheme}://{incoming_host}{further}; "
        "style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _error_page(error: bottle.HTTPError) -> str:
    """Text for a program that called /api/, a page for a person."""
    if bottle.request.path.startswith("/api/"):
        bottle.response.content_type = "text/plain; charset=utf-8"
        return str(error.body)
    return bottle.template("error_tmpl.html", template_lookup=[str(_HERE)], status=error.status, text=error.body)


StartResponse = Callable[..., Any]


def _with_headers(app: bottle.Bottle) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Put the general headers on every answer that has no such headers of its own, errors and static files included."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            present = {name.lower() for name, _ in headers}
            missing = [(name, value) for name, value in _HEADERS_OF_EVERY_ANSWER.items() if name.lower() not in present]
            return start_response(status, headers + missing, exc_info)

        answer: Iterable[bytes] = app(environ, start)
        return answer

    return application
