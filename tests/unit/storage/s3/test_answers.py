"""Answers of object stores: errors by their codes, lists by pages, and errors that come with a 200."""

import pytest
from tornado.httputil import HTTPHeaders

from incoming.storage.s3.requests import answers
from incoming.storage.s3.requests.answers import ListedUpload, StoredPart, abort_days_of, error_of, parts_of, uploads_of
from incoming.storage.s3.requests.http_sender import Answer

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def failure(status: int, code: str, message: str = "") -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, HTTPHeaders(), body.encode())


def test_success_is_no_error() -> None:
    for status in (200, 204, 206):
        assert error_of(Answer(status), "PutObject") is None


def test_an_error_in_the_body_of_a_200_is_one() -> None:
    error = error_of(failure(200, "InternalError", "We encountered an internal error."), "CompleteMultipartUpload")
    assert error is not None
    assert error.is_transient
    assert str(error) == "CompleteMultipartUpload: InternalError (We encountered an internal error.)"


@pytest.mark.parametrize(
    ("answer", "is_transient", "is_missing"),
    [
        (failure(503, "SlowDown"), True, False),
        (failure(500, "InternalError"), True, False),
        (failure(404, "NoSuchUpload"), False, True),
        (failure(404, "NoSuchBucket"), False, False),
        (failure(400, "InvalidPart"), False, False),
        (failure(403, "AccessDenied"), False, False),
        (Answer(404), False, True),
        (Answer(502, HTTPHeaders(), b"<html>Bad Gateway"), True, False),
    ],
)
def test_errors_are_told_apart(answer: Answer, is_transient: bool, is_missing: bool) -> None:
    error = error_of(answer, "HeadObject")
    assert error is not None
    assert (error.is_transient, error.is_missing) == (is_transient, is_missing)


def test_parts_come_in_pages() -> None:
    part = "<Part><PartNumber>{}</PartNumber><ETag>&quot;abc&quot;</ETag><Size>5</Size></Part>"
    page = f"<ListPartsResult {NAMESPACE}>{{}}{part.format(1)}{part.format(2)}</ListPartsResult>"
    parts = [StoredPart(1, 5, "abc"), StoredPart(2, 5, "abc")]
    more = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>"
    assert parts_of(page.format(more).encode()) == (parts, 2)
    assert parts_of(page.format("<IsTruncated>true</IsTruncated>").encode()) == (parts, 2)
    assert parts_of(page.format("<IsTruncated>false</IsTruncated>").encode()) == (parts, None)


def test_uploads_have_their_time() -> None:
    upload = "<Upload><Key>a</Key><UploadId>u</UploadId><Initiated>1970-01-01T00:01:00.500Z</Initiated></Upload>"
    body = f"<ListMultipartUploadsResult {NAMESPACE}>{upload}</ListMultipartUploadsResult>"
    assert uploads_of(body.encode()) == ([ListedUpload("a", "u", 60.5)], None)


def lifecycle(prefix: str, days: int, status: str = "Enabled") -> str:
    days_text = f"<DaysAfterInitiation>{days}</DaysAfterInitiation>"
    abort = f"<AbortIncompleteMultipartUpload>{days_text}</AbortIncompleteMultipartUpload>"
    return f"<Rule><Filter><Prefix>{prefix}</Prefix></Filter><Status>{status}</Status>{abort}</Rule>"


def test_only_rules_for_the_prefix_count() -> None:
    rules = lifecycle("", 3) + lifecycle("incoming/", 2) + lifecycle("other/", 1) + lifecycle("", 1, "Disabled")
    body = f"<LifecycleConfiguration {NAMESPACE}>{rules}<Rule><Status>Enabled</Status></Rule></LifecycleConfiguration>"
    assert abort_days_of(body.encode(), "incoming/") == [3, 2]


def test_etags_have_no_quotes() -> None:
    assert answers.etag_of('"abc-2"') == answers.etag_of("abc-2") == answers.etag_of('W/"abc-2"') == "abc-2"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}"])
def test_what_is_no_xml_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not XML"):
        parts_of(body)
