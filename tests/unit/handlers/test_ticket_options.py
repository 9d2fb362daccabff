"""What new_upload's parameters mean."""

import pytest

from incoming.core.errors import BadParameter
from incoming.core.ticket import TicketOptions
from incoming.handlers.backend.ticket_options import (
    MAX_COUNT,
    MAX_ITEMS,
    MAX_SECRET,
    MAX_URL,
    secret,
    ticket_count,
    ticket_options,
    wants_test,
)

URL = "http://app.example.org/done"


def read(**given: str) -> TicketOptions:
    return ticket_options({"signalFinishURL": URL, **given}, requested_by="127.0.0.1")


def refusal(**given: str) -> str:
    with pytest.raises(BadParameter) as caught:
        assert wants_test(given) is read(**given)
    return caught.value.message


@pytest.mark.promise(27)
@pytest.mark.promise(28)
@pytest.mark.promise(29)
@pytest.mark.promise(30)
def test_only_the_url_is_needed() -> None:
    assert read() == TicketOptions(
        signal_finish_url=URL,
        backend_secret="",
        secret_optional=False,
        remove_file_when_finished=True,
        dest_type="file",
        requested_by="127.0.0.1",
    )


def test_every_option_is_taken() -> None:
    given = read(
        destType="file",
        removeFileWhenFinished="false",
        backendSecret="s",
        maxSize="2GiB",
        maxRate="500kB",
        allowedOrigins="https://App.example.org:443, http://localhost:8080",
        allowedTypes=".PDF, image/*,application/vnd.oasis.opendocument.text",
        signalFinishFormat="json",
    )
    assert given == TicketOptions(
        signal_finish_url=URL,
        backend_secret="s",
        remove_file_when_finished=False,
        max_size=2 * 1024**3,
        max_rate=500_000,
        allowed_origins=("https://app.example.org", "http://localhost:8080"),
        allowed_types=(".pdf", "image/*", "application/vnd.oasis.opendocument.text"),
        requested_by="127.0.0.1",
        signal_finish_format="json",
    )


@pytest.mark.parametrize("format_", ["JSON", "xml", "form "])
def test_a_callback_has_one_of_two_formats(format_: str) -> None:
    assert refusal(signalFinishFormat=format_) == "signalFinishFormat invalid: it is neither 'form' nor 'json'"


def test_tickets_come_in_limited_numbers() -> None:
    assert [ticket_count(given) for given in ({}, {"count": "1"}, {"count": str(MAX_COUNT)})] == [None, 1, MAX_COUNT]
    for count in ("0", "-1", str(MAX_COUNT + 1), "1.0", "\u0663", "9" * 5000, " 2"):
        with pytest.raises(BadParameter, match=r"^count invalid: it is not a number from 1 to 100$"):
            ticket_count({"count": count})


# --- signalFinishURL --------------------------------------------------------------------------------------------------


@pytest.mark.promise(47)
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:4001/api/backend/upload_finished",
        "https://app.example.org",
        "http://app.example.org?a=1&b=%20c",
        "http://10.0.0.7:8080/x;y=z?already=there&id=mine",
        "http://[2001:db8::1]:80/x",
        "http://under_score.internal./",
        "http://a/" + "x" * (MAX_URL - 9),
    ],
)
def test_good_urls_are_kept_as_they_are(url: str) -> None:
    assert read(signalFinishURL=url).signal_finish_url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "it is empty"),
        ("/api/done", "must be absolute"),
        ("app.example.org/done", "must be absolute"),
        ("//app.example.org/done", "must be absolute"),
        ("ftp://a/", "must be absolute"),
        ("file:///etc/passwd", "must be absolute"),
        ("gopher://a/", "must be absolute"),
        ("javascript:alert(1)", "must be absolute"),
        ("http:app", "no valid host"),
        ("http://", "no valid host"),
        ("http:///x", "no valid host"),
        ("http://:80/x", "no valid host"),
        ("http://a%2Fb/", "no valid host"),
        ("http://user@a/", "user name"),
        ("http://user:pass@a/", "user name"),
        ("http://allowed#@evil/", "fragment"),
        ("http://a/#x", "fragment"),
        ("http://a:port/", "signalFinishURL invalid"),
        ("http://a:65536/", "signalFinishURL invalid"),
        ("http://a:0/", "port 0"),
        ("http://[::1/", "signalFinishURL invalid"),
        ("http://[x]/", "signalFinishURL invalid"),
        ("http://a/\r\nX-Injected: 1", "percent-encoded"),
        ("http://a/ b", "percent-encoded"),
        (" http://a/", "percent-encoded"),
        ("http://a/\0", "percent-encoded"),
        ("http://a\\b/", "percent-encoded"),
        ("http://a/<script>", "percent-encoded"),
        ("http://\N{SNOWMAN}/", "percent-encoded"),
        ("http://a/" + "x" * (MAX_URL - 8), f"has {MAX_URL + 1} characters, the limit is {MAX_URL}"),
    ],
)
def test_bad_urls_are_refused(url: str, words: str) -> None:
    message = refusal(signalFinishURL=url)
    assert message.startswith("signalFinishURL invalid: ")
    assert words in message


# --- the other parameters ---------------------------------------------------------------------------------------------


@pytest.mark.promise(29)
@pytest.mark.parametrize(
    ("text", "value"),
    [(text, True) for text in ("true", "True", "TRUE", "1", "yes", "t", "on")]
    + [(text, False) for text in ("false", "False", "0", "no", "NO", "f", "Off")],
)
def test_spellings_of_remove_file_when_finished(text: str, value: bool) -> None:
    assert read(removeFileWhenFinished=text).remove_file_when_finished is value


def test_bad_values_of_remove_file_when_finished_are_refused() -> None:
    for text in ("maybe", "2", " true", "tru", "", "null", "None", "undefined"):
        assert refusal(removeFileWhenFinished=text).startswith("removeFileWhenFinished invalid: ")


def test_a_trial_call_is_made_only_if_it_is_wanted() -> None:
    assert not wants_test({})
    assert not wants_test({"testCallback": "false"})
    assert wants_test({"testCallback": "on"})


def test_a_missing_url_is_named() -> None:
    with pytest.raises(BadParameter) as caught:
        ticket_options({}, "127.0.0.1")
    assert caught.value.message == "signalFinishURL invalid: it is not given"


@pytest.mark.promise(28)
def test_dest_type_can_only_be_file() -> None:
    assert read(destType="file").dest_type == "file"
    assert refusal(destType="ceph") == "destType invalid: only 'file' is supported"


@pytest.mark.promise(31)
def test_the_secret_has_two_names() -> None:
    assert read(backendSecret="a").secret_optional is False
    old = read(signalFinishSecret="a")
    assert (old.backend_secret, old.secret_optional) == ("a", True)
    both = read(backendSecret="a", signalFinishSecret="a")
    assert (both.backend_secret, both.secret_optional) == ("a", False)
    assert read(backendSecret="", signalFinishSecret="b").backend_secret == "b"
    assert read().secret_optional is False
    assert "but they differ" in refusal(backendSecret="a", signalFinishSecret="b")


@pytest.mark.promise(40)
def test_the_secret_is_any_string() -> None:
    text = " \N{SNOWMAN}\t\"'&=%20\r\n\0 "
    assert read(backendSecret=text).backend_secret == text
    assert read(backendSecret="x" * MAX_SECRET).backend_secret == "x" * MAX_SECRET
    assert f"the limit is {MAX_SECRET}" in refusal(backendSecret="x" * (MAX_SECRET + 1))


def test_the_secret_of_a_call() -> None:
    assert secret({"backendSecret": "a", "signalFinishSecret": "b", "secret": "c"}) == "a"
    assert secret({"backendSecret": "", "signalFinishSecret": "b"}) == "b"
    assert secret({"secret": " c "}) == " c "
    assert secret({}) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"maxSize": ""}, "maxSize invalid"),
        ({"maxRate": " "}, "maxRate invalid"),
        ({"allowedOrigins": ""}, "allowedOrigins invalid: it has no entries; leave it out to allow any"),
        ({"allowedTypes": " , "}, "allowedTypes invalid: it has no entries; leave it out to allow any"),
        ({"testCallback": ""}, "testCallback invalid"),
        ({"maxSize": "-1"}, "maxSize invalid"),
        ({"maxSize": "1e3"}, "maxSize invalid"),
        ({"maxSize": "9007199254740992"}, "maxSize invalid: the limit is"),
        ({"maxRate": "fast"}, "maxRate invalid"),
        ({"allowedOrigins": "*"}, "allowedOrigins invalid: '*' is not an origin"),
        ({"allowedOrigins": "https://a/path"}, "allowedOrigins invalid"),
        ({"allowedTypes": "pdf"}, "allowedTypes invalid: each entry is"),
        ({"allowedTypes": "*/*"}, "allowedTypes invalid: each entry is"),
        ({"allowedTypes": ".a\r\nb"}, "allowedTypes invalid: each entry is"),
        ({"allowedTypes": ",".join([".a"] * (MAX_ITEMS + 1))}, f"the limit is {MAX_ITEMS}"),
        ({"allowedOrigins": ",".join(["http://a"] * (MAX_ITEMS + 1))}, f"the limit is {MAX_ITEMS}"),
    ],
)
def test_bad_limits_are_refused(given: dict[str, str], words: str) -> None:
    assert words in refusal(**given)


def test_the_largest_limits_are_accepted() -> None:
    assert read(maxSize="9007199254740991").max_size == 2**53 - 1
    assert len(read(allowedTypes=",".join([".a"] * MAX_ITEMS)).allowed_types) == MAX_ITEMS
