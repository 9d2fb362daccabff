"""The fields of the IETF's resumable uploads, for every interop version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import BadRequest, OffsetMismatch, StorageFull, UnsupportedMediaType
from incoming.wire.messages import MAX_SIZE
from incoming.wire.resumable_upload import (
    INCONSISTENT_LENGTH,
    LATER,
    MAX_INTEGER,
    MISMATCHING_OFFSET,
    PARTIAL_UPLOAD,
    UNVERSIONED,
    VERSION_FIELD,
    VERSIONS,
    append_completes,
    append_offset,
    check_append_type,
    check_question,
    is_interested,
    is_resumable_upload,
    parse_complete,
    parse_length,
    problem,
    upload_limit,
    version_of,
)

KNOWN = range(3, 11)


def test_the_versions_in_use_are_known() -> None:
    assert sorted(VERSIONS) == list(KNOWN)
    assert all(row.number == number for number, row in VERSIONS.items())


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("10", 10), (" 6 ", 6), ("8;a=b", 8), ("008", 8)])
def test_a_known_version_is_its_row(text: str, number: int) -> None:
    assert version_of({VERSION_FIELD: text}).number == number
    assert is_interested({VERSION_FIELD: text})


@pytest.mark.parametrize("text", ["2", "11", "999999999999999"])
def test_another_version_is_the_newest_without_interim_answers(text: str) -> None:
    assert version_of({VERSION_FIELD: text}) == LATER
    assert is_interested({VERSION_FIELD: text})
    assert not LATER.has_interim


@pytest.mark.parametrize(
    "headers", [{}, {VERSION_FIELD: ""}, {VERSION_FIELD: "8, 8"}, {VERSION_FIELD: "-8"}, {VERSION_FIELD: "8.0"}]
)
def test_no_version_or_a_malformed_one_is_none(headers: dict[str, str]) -> None:
    assert version_of(headers) == UNVERSIONED
    assert not is_interested(headers)


def test_without_a_version_nobody_gets_interim_answers_before_the_rfc() -> None:
    assert not UNVERSIONED.has_interim


@pytest.mark.parametrize(
    ("method", "headers", "ours"),
    [
        ("PATCH", {}, True),
        ("HEAD", {}, True),
        ("POST", {}, False),
        ("PUT", {}, False),
        ("POST", {"Upload-Complete": "?0"}, True),
        ("PUT", {"Upload-Complete": "?1"}, True),
        ("PUT", {"Upload-Complete": "?1", VERSION_FIELD: "3"}, False),
        ("PUT", {"Upload-Incomplete": "?1", VERSION_FIELD: "3"}, True),
        ("PUT", {"Upload-Incomplete": "?1", VERSION_FIELD: "4"}, False),
        ("PUT", {"Upload-Incomplete": "?1"}, False),
        ("PUT", {"Upload-Complete": "1"}, False),
        ("PUT", {"Upload-Complete": "true", VERSION_FIELD: "8"}, False),
        ("PUT", {"Upload-Complete": "?1,?1"}, False),
        ("DELETE", {}, False),
        ("GET", {}, False),
        ("OPTIONS", {}, False),
        ("DELETE", {VERSION_FIELD: "8"}, True),
        ("GET", {VERSION_FIELD: "11"}, True),
        ("OPTIONS", {VERSION_FIELD: "6"}, True),
        ("GET", {VERSION_FIELD: "eight"}, False),
        ("TRACE", {VERSION_FIELD: "8"}, False),
    ],
)
def test_which_requests_are_the_drafts(method: str, headers: dict[str, str], ours: bool) -> None:
    assert is_resumable_upload(method, headers) is ours


@pytest.mark.parametrize("number", KNOWN)
@pytest.mark.parametrize("complete", [True, False])
def test_complete_is_read_as_it_is_written(number: int, complete: bool) -> None:
    version = VERSIONS[number]
    value = version.complete_value(complete=complete)
    assert parse_complete(version, {version.complete_field: value}) is complete
    assert value == ("?1" if complete != (number == 3) else "?0")
    assert version.complete_field == ("Upload-Incomplete" if number == 3 else "Upload-Complete")


@pytest.mark.parametrize(
    "parameters", [";a", ";a=1", "; a=?0", ';a="b;\\"c"', ";a=:YWI=:;b=@17", ";*=x/y", ';a=%"f"', ";a=-1.5"]
)
def test_parameters_are_ignored(parameters: str) -> None:
    assert parse_complete(VERSIONS[8], {"Upload-Complete": f"?1{parameters}"}) is True
    assert append_offset({"Upload-Offset": f"7{parameters}"}) == 7


@pytest.mark.parametrize(
    "value", ["", "?", "?2", "? 1", "1", "?1;", "?1;A=1", "?1 ;a", "?1;a=", "?1, ?0", "?1\t", "\u00a0?1", "(?1)"]
)
def test_a_malformed_complete_is_as_if_it_were_not_there(value: str) -> None:
    assert parse_complete(VERSIONS[8], {"Upload-Complete": value}) is None


@pytest.mark.parametrize("number", KNOWN)
def test_whether_an_append_must_say_if_it_is_the_last(number: int) -> None:
    version = VERSIONS[number]
    assert append_completes(version, {version.complete_field: version.complete_value(complete=False)}) is False
    with pytest.raises(BadRequest, match=version.complete_field):
        append_completes(version, {version.complete_field: "yes"})
    if number <= 6:
        assert append_completes(version, {}) is True
    else:
        with pytest.raises(BadRequest, match="Upload-Complete"):
            append_completes(version, {})


@pytest.mark.parametrize(
    "value", ["", "-1", "1.0", "0x1", "\u0661", "1 2", "1,1", "9" * 16, "1" * 17, "+1", '"1"', "1;"]
)
def test_a_malformed_offset_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="Upload-Offset"):
        append_offset({"Upload-Offset": value})


def test_an_append_without_an_offset_is_refused() -> None:
    with pytest.raises(BadRequest, match="Upload-Offset"):
        append_offset({})


@given(st.integers(0, MAX_SIZE))
def test_offsets(number: int) -> None:
    assert append_offset({"Upload-Offset": str(number)}) == number


@pytest.mark.parametrize("number", KNOWN)
def test_length_and_media_type_exist_from_version_6_on(number: int) -> None:
    version = VERSIONS[number]
    assert parse_length(version, {"Upload-Length": "12"}) == (12 if number >= 6 else None)
    assert parse_length(version, {}) is None
    check_append_type(version, "Application/Partial-Upload; a=b")
    if number < 6:
        assert parse_length(version, {"Upload-Length": "twelve"}) is None
        check_append_type(version, "text/plain")
        return
    with pytest.raises(BadRequest, match="Upload-Length"):
        parse_length(version, {"Upload-Length": "twelve"})
    for other in ("", "text/plain", "application/offset+octet-stream", f"x{PARTIAL_UPLOAD}"):
        with pytest.raises(UnsupportedMediaType, match=PARTIAL_UPLOAD):
            check_append_type(version, other)


@pytest.mark.parametrize("number", KNOWN)
@pytest.mark.parametrize("name", ["Upload-Offset", "Upload-Complete", "Upload-Incomplete"])
def test_questions_have_no_fields_of_an_append_up_to_version_6(number: int, name: str) -> None:
    version = VERSIONS[number]
    check_question(version, {})
    if number <= 6 and name in ("Upload-Offset", version.complete_field):
        with pytest.raises(BadRequest, match=name):
            check_question(version, {name: "0"})
    else:
        check_question(version, {name: "0"})


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((0, 0, None), "min-size=0"),
        ((10, 0, None), "max-size=10"),
        ((10, 5, 60.9), "max-size=10, max-append-size=5, max-age=60"),
        ((0, 0, -3.0), "max-age=0"),
        ((MAX_INTEGER + 1, MAX_INTEGER, None), f"max-append-size={MAX_INTEGER}"),
    ],
)
def test_limits(limits: tuple[int, int, float | None], told: str) -> None:
    assert upload_limit(VERSIONS[8], *limits) == told
    assert upload_limit(VERSIONS[6], *limits) == told.replace("max-age", "expires")
    for number in (3, 4, 5):
        assert upload_limit(VERSIONS[number], *limits) is None


@pytest.mark.parametrize("number", KNOWN)
def test_the_as_object_the_table(number: int) -> None:
    version = VERSIONS[number]
    assert version.has_interim
    assert version.has_progress == (number >= 5)
    assert version.append_status == (201 if number <= 6 else 204)
    assert version.conflict_has_complete == (number >= 7)
    assert version.expiry == ("" if number < 6 else "expires" if number == 6 else "max-age")
    for other in (UNVERSIONED, LATER):
        assert (other.append_status, other.expiry, other.is_inverted) == (204, "max-age", False)


def test_a_problem_has_the_facts_of_every_error() -> None:
    error = OffsetMismatch("the upload is at byte 5")
    assert problem(error, 409, "Conflict", MISMATCHING_OFFSET, **{"expected-offset": 5, "provided-offset": 7}) == {
        "type": "https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
        "title": "the append does not begin at the upload's offset",
        "status": 409,
        "detail": "the upload is at byte 5",
        "code": 110,
        "name": "offset_mismatch",
        "retry": False,
        "retry_after": None,
        "expected-offset": 5,
        "provided-offset": 7,
    }


def test_problems_without_a_type_of_their_own_are_titled_by_their_status() -> None:
    told = problem(StorageFull("no room"), 503, "Service Unavailable")
    assert (told["type"], told["title"], told["retry_after"]) == ("about:blank", "Service Unavailable", 10)
    assert (
        problem(BadRequest("x"), 400, "Bad Request", INCONSISTENT_LENGTH)["title"]
        == "the lengths given for the upload differ"
    )
