"""Responses that a framework or a proxy gives in an app's place: their cause, and what the developer does about it.

Pure. A text that is listed here is never an app's own word. The lists hold what Django, FastAPI, Flask, Express, PHP
and some others are known to send when a callback does not reach the app's own code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from incoming.callbacks.response import Response


@dataclass(frozen=True, slots=True)
class Advice:
    """Why a callback was not answered by the app itself, and the cure."""

    cause: str
    cure: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.cure}"


ALWAYS_EMPTY = frozenset({"cancelReason"})
"""Fields that every handover sends empty. (A cancellation sends `filename` empty, and its answer does not matter.)"""

_CSRF = "exempt the callback's view from the check; the signature takes its place"
_BY_TEXT: tuple[tuple[str, str, str], ...] = (
    (r"CSRF verification failed", "Django's CSRF check", "decorate the view with @csrf_exempt"),
    (r"CSRF Failed:", "Django REST framework's CSRF check", "set authentication_classes = [] on the view"),
    (
        r"Authentication credentials were not provided|Not authenticated",
        "the framework wants a login",
        "let the callback's view be called without one (Django REST framework: permission_classes = [AllowAny])",
    ),
    (
        r"doesn.t end in a slash and you have APPEND_SLASH",
        "Django's APPEND_SLASH",
        "end signalFinishURL with a slash, as the URL pattern does",
    ),
    (r"DisallowedHost|Invalid HTTP_HOST header", "Django's ALLOWED_HOSTS", "add the URL's host to ALLOWED_HOSTS"),
    (
        r"Bad Request \(400\)",
        "Django refused the request before the view, mostly by ALLOWED_HOSTS",
        "add the URL's host to ALLOWED_HOSTS",
    ),
    (r"Blocked hosts?:", "Rails' host authorization", "add the URL's host to config.hosts"),
    (r"Invalid host header", "the framework's list of hosts", "add the URL's host to its list (TrustedHostMiddleware)"),
    (r"InvalidAuthenticityToken", "Rails' CSRF check", "skip_before_action :verify_authenticity_token"),
    (r"The CSRF (session )?token is (missing|invalid)", "Flask-WTF's CSRF check", "decorate the view: @csrf.exempt"),
    (r"Page Expired", "Laravel's CSRF check", "except the URI from VerifyCsrfToken"),
    (r"csrf|xsrf|antiforgery", "a CSRF check", _CSRF),
    (
        r"Cannot (read propert\w{1,10}|destructure property) .{0,100}(undefined|null)",
        "Express: the request has no parsed body",
        "call app.use(express.urlencoded({ extended: false })) before the route is defined",
    ),
    (r"Cannot POST /", "Express has no route for POST at this path", "define app.post(path) with exactly this path"),
    (
        r"content-type was not .application/json|Unsupported Media Type",
        "the app expects JSON",
        "read the form that is sent (Flask: request.form, FastAPI: Form(...)), or get tickets with "
        "signalFinishFormat=json",
    ),
    (
        r"did not return a valid response|didn.t return an HttpResponse",
        "the view returned nothing",
        "return the text 'done'",
    ),
    (
        r"<\?php",
        "the web server sends the PHP source instead of running it",
        "enable PHP for this path (php-fpm or mod_php)",
    ),
    (
        r"\b(Warning|Notice|Deprecated|Fatal error|Parse error)(</b>)?: ",
        "PHP printed a message into the answer",
        "correct what it names, and set display_errors = Off",
    ),
    (
        r"browser \(or proxy\) sent a request that this server could not understand",
        "Flask: the view reads a form field that is not sent",
        "use request.form.get(name)",
    ),
)
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), Advice(cause, cure)) for pattern, cause, cure in _BY_TEXT
)

_BY_STATUS: dict[int, Advice] = {
    401: Advice("the URL wants a login", "exempt the callback's view from it; the signature proves who calls"),
    403: Advice("a framework or a proxy forbids the call", "let this server call the URL; answer in plain text"),
    404: Advice("nothing is at this path, or a proxy has no route to the app", "correct signalFinishURL or the route"),
    405: Advice("the path takes no POST", "let the route accept POST (Flask: methods=['POST'])"),
    415: Advice(
        "the app does not take this format",
        "read application/x-www-form-urlencoded, or get tickets with signalFinishFormat=json",
    ),
    421: Advice("the proxy does not serve this host name", "correct the host in signalFinishURL or the proxy's name"),
    422: Advice("the framework's validation failed", "declare the fields as form fields that may be empty"),
    502: Advice("a proxy does not reach the app", "start the app; correct the proxy's upstream"),
    503: Advice("the app, or a proxy in front of it, is not ready", "start the app"),
    504: Advice("a proxy gave up waiting for the app", "answer 'wait' at once and call finish_upload later"),
}

_STOCK = frozenset(
    {status.phrase.lower() for status in HTTPStatus}
    | {"access denied", "rbac: access denied", "permission denied", "forbidden resource", "blocked", "page not found"}
    | {"you are not allowed to access this resource", "request blocked", "unprocessable entity", "i'm a teapot"}
)
"""Texts that proxies and frameworks send with any refusal; they say no more than the status."""

_STOCK_PATTERN = re.compile(r"error code: \d+|no available server|upstream .*|no healthy upstream", re.DOTALL)


def advice_on(response: Response, *, by_text: bool = False) -> Advice | None:
    """Return the known cause of a response and its cure; with `by_text` only if its text gives the cause away."""
    validation = _validation(response.json)
    if validation is not None:
        return validation
    text = " ".join(html.unescape(response.text).split())
    for pattern, advice in _PATTERNS:
        if pattern.search(text):
            return advice
    if by_text:
        return None
    if 300 <= response.status < 400:
        return _redirect(response)
    if response.status in _BY_STATUS:
        return _BY_STATUS[response.status]
    if response.status >= 500:
        return Advice("the app failed", "look into its log")
    if response.word in ("", "null", "None"):
        return Advice("the app returned nothing", "return the text 'done'")
    if response.is_html:
        return Advice("a page came instead of an answer", "return the text 'done', not a page; check the path")
    return Advice("the answer is none of those that are known", "answer 'done', 'wait' or 'refuse: reason'")


def is_stock_text(response: Response) -> bool:
    """Return whether the text stands for the status alone, as plain text or in a JSON object."""
    texts = list(_texts(response.json)) if isinstance(response.json, dict | list) else [response.word]
    return all(_is_stock(text) for text in texts)


def _is_stock(text: str) -> bool:
    bare = re.sub(r"^[\s\d:.-]+|[\s.!]+$", "", text.lower())
    return not bare or bare in _STOCK or bool(_STOCK_PATTERN.fullmatch(bare)) or "://" in bare or bare == "about:blank"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _validation(content: Any) -> Advice | None:
    """Return FastAPI's report of the fields that its validation rejected (status 422)."""
    errors = content.get("detail") if isinstance(content, dict) else None
    if not isinstance(errors, list) or not all(isinstance(error, dict) and "loc" in error for error in errors):
        return None
    places = [error["loc"] for error in errors if isinstance(error["loc"], list)]
    names = {str(place[-1]) for place in places if len(place) > 1}
    if any(place[:1] == ["query"] for place in places):
        cure = "declare the parameters with Form(): id: str = Form()"
        return Advice("FastAPI expects the fields in the query", cure)
    if not names or any(place == ["body"] for place in places) or "id" in names:
        cure = (
            "declare the parameters with Form() instead of a model, and install python-multipart; or declare a model "
            "and get tickets with signalFinishFormat=json"
        )
        return Advice("FastAPI expects JSON, but the callback is a form, or the other way round", cure)
    listed = ", ".join(sorted(names)[:5])
    if names <= ALWAYS_EMPTY:
        cure = 'give it a default: cancelReason: str = Form("")'
        return Advice(f"FastAPI takes the empty field {listed} as missing", cure)
    cure = 'declare exactly the fields that are sent, each with a default: name: str = Form("")'
    return Advice(f"FastAPI does not accept the fields {listed}", cure)


def _redirect(response: Response) -> Advice:
    """Describe a redirect without its target: the caller of a trial may not see what is behind the app."""
    path = response.header("Location").partition("?")[0]
    if re.search(r"log_?in|sign_?in|auth", path, re.IGNORECASE):
        return Advice("the URL redirects to a login", "exempt the callback's view from the login")
    if path.endswith("/"):
        cure = "end signalFinishURL with a slash, or drop the slash from the route (Django: APPEND_SLASH)"
        return Advice("the URL redirects to one with a slash, and redirects are not followed", cure)
    return Advice("the URL redirects, and redirects are not followed", "give the final URL as signalFinishURL")
