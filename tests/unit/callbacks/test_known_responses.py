"""The mistakes that developers make with their framework: each is recognised by what the framework answers.

The bodies are those that the frameworks send, cut to what matters.
"""

import json
import re

import pytest

from incoming.callbacks.answer import Verdict, judge
from incoming.callbacks.response import MAX_BODY, Response
from incoming.core.ticket import Callback
from tests.unit.core.scaling import assert_linear

ARRIVED = Callback("delivery-1", cancelled=False, since=0, due_at=0, attempts=1)
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}


def fastapi(*errors: tuple[list[str], str]) -> str:
    return json.dumps(
        {"detail": [{"type": kind, "loc": loc, "msg": "Field required", "input": None} for loc, kind in errors]}
    )


DJANGO_CSRF = """<!DOCTYPE html><html lang="en"><head><title>403 Forbidden</title></head><body><div id="summary">
<h1>Forbidden <span>(403)</span></h1><p>CSRF verification failed. Request aborted.</p></div></body></html>"""
DJANGO_SLASH = """<title>RuntimeError at /upload_finished</title><pre class="exception_value">You called this URL via
POST, but the URL doesn&#x27;t end in a slash and you have APPEND_SLASH set.</pre>"""
DJANGO_HOST = """<title>DisallowedHost at /done</title><pre>Invalid HTTP_HOST header: &#x27;app:8000&#x27;. You may need
to add &#x27;app&#x27; to ALLOWED_HOSTS.</pre>"""
FLASK_405 = """<!doctype html><html lang=en><title>405 Method Not Allowed</title><h1>Method Not Allowed</h1>"""
FLASK_KEY = """<!doctype html><title>400 Bad Request</title><p>The browser (or proxy) sent a request that this server
could not understand.</p>"""
EXPRESS = "<!DOCTYPE html><html><body><pre>{}<br> &nbsp; at Layer.handle</pre></body></html>"


@pytest.mark.parametrize(
    ("status", "body", "headers", "cause", "cure"),
    [
        (403, DJANGO_CSRF, HTML, "Django's CSRF check", "@csrf_exempt"),
        (403, '{"detail":"CSRF Failed: CSRF token missing."}', JSON, "REST framework's CSRF", "authentication_class"),

        (403, '{"detail":"Authentication credentials were not provided."}', JSON, "wants a login", "AllowAny"),
        (500, DJANGO_SLASH, HTML, "APPEND_SLASH", "end signalFinishURL with a slash"),
        (301, "", {**HTML, "Location": "/upload_finished/"}, "redirects to one with a slash", "APPEND_SLASH"),
        (400, DJANGO_HOST, HTML, "ALLOWED_HOSTS", "add the URL's host to ALLOWED_HOSTS"),
        (400, "<h1>Bad Request (400)</h1>", HTML, "ALLOWED_HOSTS", "add the URL's host to ALLOWED_HOSTS"),
        (302, "", {"Location": "https://app/accounts/login/?next=/done"}, "redirects to a login", "exempt"),
        (301, "", {"Location": "https://app/done?key=1"}, "URL redirects", "give the final URL"),
        (422, fastapi((["body", "cancelReason"], "missing")), JSON, "empty field cancelReason", 'Form("")'),
        (422, fastapi((["body"], "missing")), JSON, "FastAPI expects JSON", "Form()"),
        (422, fastapi((["body"], "model_attributes_type")), JSON, "FastAPI expects JSON", "Form()"),
        (422, fastapi((["query", "id"], "missing")), JSON, "in the query", "Form()"),
        (422, fastapi((["body", "size"], "missing")), JSON, "does not accept the fields size", "exactly the fields"),
        (200, "null", JSON, "returned nothing", "return the text 'done'"),
        (200, "", TEXT, "returned nothing", "return the text 'done'"),
        (405, FLASK_405, HTML, "takes no POST", "methods=['POST']"),
        (400, FLASK_KEY, HTML, "form field that is not sent", "request.form.get"),
        (400, "<h1>Bad Request</h1><p>The CSRF token is missing.</p>", HTML, "Flask-WTF", "@csrf.exempt"),
        (415, "Did not attempt to load JSON data because the request Content-Type was not &#39;application/json&#39;.",
         HTML, "expects JSON", "request.form"),
        (500, EXPRESS.format("TypeError: Cannot read properties of undefined (reading &#39;id&#39;)"), HTML,
         "no parsed body", "express.urlencoded"),
        (500, EXPRESS.format("Cannot destructure property &#39;id&#39; of &#39;req.body&#39; as it is undefined."),
         HTML, "no parsed body", "express.urlencoded"),
        (404, EXPRESS.format("Cannot POST /done"), HTML, "no route for POST", "app.post"),
        (419, "<title>Page Expired</title>", HTML, "Laravel's CSRF", "VerifyCsrfToken"),
        (422, "ActionController::InvalidAuthenticityToken", TEXT, "Rails' CSRF", "skip_before_action"),
        (200, "<br />\n<b>Warning</b>:  Undefined array key \"size\" in <b>/x.php</b><br />\ndone", HTML,
         "PHP printed a message", "display_errors"),
        (200, "<?php\necho 'done';", TEXT, "PHP source", "enable PHP"),
        (404, "404 page not found\n", TEXT, "nothing is at this path", "signalFinishURL"),
        (421, "", TEXT, "host name", "signalFinishURL"),
        (401, "", TEXT, "wants a login", "exempt"),
        (502, "<h1>502 Bad Gateway</h1>", HTML, "proxy does not reach the app", "upstream"),
        (500, "Internal Server Error", TEXT, "the app failed", "log"),
        (200, "<p>It works!</p>", HTML, "a page came", "not a page"),
        (200, "OK", TEXT, "none of those that are known", "'refuse: reason'"),
    ],
)  # fmt: skip
def test_a_frameworks_answer_names_its_cause_and_its_cure_and_is_no_refusal(
    status: int, body: str, headers: dict[str, str], cause: str, cure: str
) -> None:
    answer = judge(Response(status, "", headers, body.encode(), len(body)), ARRIVED, 0.0)
    assert answer.verdict in (Verdict.UNCLEAR, Verdict.AGAIN)
    assert answer.advice is not None
    assert cause in answer.advice.cause
    assert cure in answer.advice.cure
    assert str(answer.advice) == f"{answer.advice.cause}: {answer.advice.cure}"


@pytest.mark.parametrize(
    "page",
    [
        "<title>RuntimeError at /done</title>{}<pre>You called this URL via POST, but the URL doesn&#x27;t end in a "
        "slash and you have APPEND_SLASH set.</pre>",
        "<title>ValueError at /done</title>{}<pre>The view app.done didn&#x27;t return an HttpResponse object.</pre>",
    ],
)
def test_a_page_for_developers_names_the_error_behind_its_style(page: str) -> None:
    body = page.format("<style>" + "p { color: red }\n" * 350 + "</style>")
    advice = judge(Response(500, "", HTML, body.encode()[:MAX_BODY], len(body) + 50_000), ARRIVED, 0.0).advice
    assert advice is not None
    assert "the app failed" not in advice.cause


@pytest.mark.parametrize(
    "text",
    ["Cannot read propertyx ", "<script", "<p>lorem Cannot destructure property", "&#x27;", "<", "csr", "Warning"],
)
def test_recognition_takes_time_in_proportion_to_the_text(text: str) -> None:
    def judged(size: int) -> list[Response]:
        return [Response(404, "", HTML, (text * size)[:size].encode(), size) for _ in range(4)]

    assert_linear(judged, lambda responses: [judge(each, ARRIVED, 0.0) for each in responses], MAX_BODY // 8)


def test_the_target_of_a_redirect_is_not_revealed() -> None:
    answer = judge(Response(302, "Found", {"Location": "https://inside.example/b?token=secret"}), ARRIVED, 0.0)
    assert not {"secret", "inside"} & set(re.findall(r"\w+", f"{answer.reason} {answer.advice}"))
