"""What an app's response means: what can mean only acceptance, what only the app can have said, and what is unclear."""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote, quote_plus

import pytest

from incoming.callbacks.answer import Answer, Verdict, judge, retry_after
from incoming.callbacks.response import MAX_BODY, Response, one_line
from incoming.core.ticket import Callback

ARRIVED = Callback("delivery-1", cancelled=False, since=0, due_at=0, attempts=1)
CANCELLED = replace(ARRIVED, cancelled=True)
NOW = 1_800_000_000.25
HTML = "text/html; charset=utf-8"
JSON = "application/json"
PHRASES = {200: "OK", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 422: "Unprocessable Entity"}


def response(body: bytes | str = b"", status: int = 200, content_type: str = "text/plain", **headers: str) -> Response:
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Response(status, PHRASES.get(status, ""), fields, content[:MAX_BODY], len(content))


def verdict(body: bytes | str = b"", status: int = 200, content_type: str = "text/plain", **headers: str) -> Verdict:
    return judge(response(body, status, content_type, **headers), ARRIVED, NOW).verdict


# --- acceptance -------------------------------------------------------------------------------------------------------


@pytest.mark.promise(56, 57)
@pytest.mark.parametrize("word", ["done", "wait"])
@pytest.mark.parametrize(
    "spelling",
    [
        "{}",
        "{}\n",
        " \r\n\t{} ",
        "\ufeff{}",
        "\ufeff\ufeff {}\n",
        "{}\u200b",
        '"{}"',
        ' "{}"\n',
        '{{"status": "{}"}}',
        '\ufeff{{"status":"{}"}}\n',
    ],
)
@pytest.mark.parametrize("case", [str, str.upper, str.capitalize])
def test_unambiguous_answers_are_acceptances(word: str, spelling: str, case: type[str]) -> None:
    assert verdict(spelling.format(case(word))) == Verdict(word)


@pytest.mark.parametrize("status", [200, 201, 202, 203])
def test_any_status_of_success_accepts(status: int) -> None:
    assert verdict("done", status) == Verdict.DONE


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_other_encodings_accept_with_their_mark(encoding: str) -> None:
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    assert verdict(marks.get(encoding, b"") + "done\r\n".encode(encoding)) == Verdict.DONE


def test_utf_16_without_a_mark_accepts_if_the_header_names_it() -> None:
    assert verdict("done".encode("utf-16-le"), content_type="text/plain; charset=UTF-16LE") == Verdict.DONE


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"done\n", mtime=0)),
        ("x-gzip", gzip.compress(b'"done"', mtime=0)),
        ("GZIP", gzip.compress(b"done", mtime=0)),
        ("deflate", zlib.compress(b"done")),
        ("deflate", zlib.compress(b"done")[2:-4]),
    ],
)
def test_unrequested_compression_is_decoded(coding: str, body: bytes) -> None:
    assert verdict(body, Content_Encoding=coding) == Verdict.DONE


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", gzip.compress(b"done" + b" " * 50_000_000, mtime=0), f"it answered more than {MAX_BODY} bytes"),
        ("gzip", gzip.compress(b"done", mtime=0)[:-9], "in the content coding 'gzip', which cannot be read"),
        ("gzip", b"done", "in the content coding 'gzip', which cannot be read"),
        ("br", b"\x0b\x01\x80done\x03", "in the content coding 'br', which cannot be read"),
    ],
)
def test_decompression_is_bounded_and_failures_are_unclear(coding: str, body: bytes, reason: str) -> None:
    answer = judge(response(body, Content_Encoding=coding), ARRIVED, NOW)
    assert answer.verdict == Verdict.UNCLEAR
    assert reason in answer.reason


# --- refusal ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise(64)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("refuse: this folder is full", "this folder is full"),
        ("Refuse : a\r\nb", "a b"),
        ("refuse", "it gave no reason"),
        ("refuse:", "it gave no reason"),
        ('"refuse: too large"', "too large"),
        ('{"status": "refuse", "reason": "too large"}', "too large"),
        ('{"status": "refuse"}', "it gave no reason"),
        ("refuse: " + "x" * 1000, "x" * 200 + "…"),
    ],
)
def test_an_explicit_refusal_is_one_with_its_reason(body: str, reason: str) -> None:
    assert judge(response(body), ARRIVED, NOW) == Answer(Verdict.REFUSED, reason)


@pytest.mark.promise(64)
@pytest.mark.parametrize("status", [403, 409, 410, 418, 422])
@pytest.mark.parametrize(
    "body", ["wrong secret", '{"error": "no such folder"}', '"this user may not"', "nein", "<b>no</b>"]
)
def test_a_refusing_status_with_a_text_of_the_apps_own_is_a_refusal(status: int, body: str) -> None:
    answer = judge(response(body, status), ARRIVED, NOW)
    assert answer.verdict == Verdict.REFUSED
    assert answer.reason.endswith(f": {body}")


@pytest.mark.promise(64)
def test_status_418_comes_from_an_app() -> None:
    assert verdict("I'm a teapot", 418) == Verdict.REFUSED


# --- neither ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "content_type"),
    [
        *(
            (body, 200, "text/plain")
            for body in ("", "  ", "ok", "done, thanks", "null", "true", "0", "refused", "donee")
        ),
        *(("", status, "text/plain") for status in (204, 301, 302, 304, 307, 308, 400, 403, 404, 405, 409, 410, 418)),
        *(("words", status, "text/plain") for status in (204, 301, 400, 401, 404, 405, 406, 411, 413, 415, 421, 451)),
        *(("<p>It works!</p>", status, HTML) for status in (200, 403, 404, 409, 410, 418, 422)),
        ("<html>done</html>", 200, "text/plain"),
        ("<!doctype html>wrong secret", 403, "text/plain"),
        ('{"status": "done", "error": "disk full"}', 200, JSON),
        ('{"status": "done", "reason": "none"}', 200, JSON),
        ('{"status": "refuse", "reason": 1}', 200, JSON),
        ('{"status": 1}', 200, JSON),
        ('["done"]', 200, JSON),
        ("[" * 4000, 200, JSON),
        *(
            (body, 403, "text/plain")
            for body in ("Forbidden", "403 Forbidden\n", "RBAC: access denied", "Access denied.")
        ),
        ("error code: 1020", 403, "text/plain"),
        ('{"message":"Forbidden"}', 403, JSON),
        ('{"statusCode":403,"message":"Forbidden resource","error":"Forbidden"}', 403, JSON),
        (
            '{"type":"https://tools.ietf.org/html/rfc9110","title":"Conflict","status":409}',
            409,
            "application/problem+json",
        ),
        ("wrong secret " * 1000, 403, "text/plain"),
    ],
)
def test_answers_that_a_proxy_may_have_given_are_unclear(body: str, status: int, content_type: str) -> None:
    answer = judge(response(body, status, content_type), ARRIVED, NOW)
    assert answer.verdict == Verdict.UNCLEAR
    assert answer.reason
    assert answer.advice is not None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("callback", [ARRIVED, CANCELLED])
def test_not_now_answers_are_retried(status: int, callback: Callback) -> None:
    answer = judge(response("done", status), callback, NOW)
    assert (answer.verdict, answer.answered, answer.retry_after) == (Verdict.AGAIN, True, None)
    assert str(status) in answer.reason


@pytest.mark.promise(58)
@pytest.mark.parametrize(("body", "status"), [("", 200), ("done", 200), ("?", 200), ("gone", 404), ("", 302)])
def test_the_answer_to_a_cancellation_does_not_matter(body: str, status: int) -> None:
    assert judge(response(body, status), CANCELLED, NOW) == Answer(Verdict.DONE)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 59.75),
        ("Fri, 15 Jan 1999 08:01:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("٣", None),
        ("Fri, 99 Jan 2027 08:01:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds
    assert judge(response("", 503, Retry_After=value), ARRIVED, NOW).retry_after == seconds


# --- what people read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "content_type", "reason"),
    [
        ("no such upload", 404, "text/plain", "it answered 404 Not Found: no such upload"),
        ("", 403, "text/plain", "it answered 403 Forbidden"),
        ("", 200, "text/plain", "it answered nothing"),
        ("dome", 200, "text/plain", "it answered neither 'done' nor 'wait' but 'dome'"),
        ("do\u200bne", 200, "text/plain", "it answered neither 'done' nor 'wait' but 'do\\u200bne'"),
        ("d\xadone\x00!", 200, "text/plain", "it answered neither 'done' nor 'wait' but 'd\\xadone\\x00!'"),
        ("a\r\nb\x1b[2Jc\u202e", 404, "text/plain", "it answered 404 Not Found: a b\\x1b[2Jc\\u202e"),
        ("x" * 1000, 404, "text/plain", "it answered 404 Not Found: " + "x" * 200 + "…"),
        (
            "<html><title>T</title><style>p {}</style>\n<b>Not</b> here",
            404,
            HTML,
            "it answered 404 Not Found: Not here",
        ),
    ],
)
def test_the_reason_quotes_the_answer_in_one_visible_line(
    body: str, status: int, content_type: str, reason: str
) -> None:
    assert judge(response(body, status, content_type), ARRIVED, NOW).reason == reason


@pytest.mark.parametrize("body", ["no: {}", "refuse: {}", '{{"input": "id=1&secret={}"}}', "<p>{}</p>"])
@pytest.mark.parametrize("spell", [str, quote_plus, quote, lambda secret: json.dumps(secret)[1:-1]])
@pytest.mark.parametrize("status", [200, 403, 422, 500])
def test_a_secret_that_the_app_repeats_is_not_shown(body: str, spell: Callable[[str], str], status: int) -> None:
    secret = 'sword fish & "chips"'
    told = replace(response(body.format(spell(secret)), status), secret=secret)
    assert "sword" not in judge(told, ARRIVED, NOW).reason
    assert "***" in judge(told, ARRIVED, NOW).reason


def test_every_line_is_printable() -> None:
    everything = "".join(map(chr, range(0x3000)))
    for start in range(0, len(everything), 100):
        assert one_line(everything[start : start + 100]).isprintable()


def test_json_of_any_depth_and_kind_raises_nothing() -> None:
    for value in (None, True, 1, 1.5, "x", [], {}, [[]], {"detail": []}, {"detail": [{"loc": 1}]}, {"detail": [1]}):
        for status in (200, 403, 422, 500):
            judge(response(json.dumps(value), status, JSON), ARRIVED, NOW)
