"""Parameters of the backend functions, from query, form, multipart and JSON."""

import json

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from incoming.core.errors import BadRequest, UnsupportedEncoding
from incoming.handlers.backend.parameters import Value, parameters

FORM = "application/x-www-form-urlencoded"


class Connection:
    context = None


def read(query: str = "", body: bytes = b"", content_type: str = "", **headers: str) -> dict[str, Value]:
    fields = HTTPHeaders({"Host": "incoming", **{name.replace("_", "-"): value for name, value in headers.items()}})
    if content_type:
        fields["Content-Type"] = content_type
    start_line = RequestStartLine("POST", f"/?{query}", "HTTP/1.1")
    request = HTTPServerRequest(start_line=start_line, headers=fields, connection=Connection())
    return dict(parameters(request, body))


def multipart(*parts: tuple[str, bytes]) -> bytes:
    lines = [b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(lines) + b"--b--\r\n"


@pytest.mark.promise(26)
def test_parameters_may_be_in_the_query() -> None:
    assert read("id=1&backendSecret=a%20b%2Bc+d") == {"id": "1", "backendSecret": "a b+c d"}


@pytest.mark.promise(25)
@pytest.mark.parametrize("content_type", [FORM, FORM + "; charset=utf-8", FORM.upper()])
def test_parameters_may_be_a_form(content_type: str) -> None:
    assert read(body=b"id=1&x=%E2%98%83", content_type=content_type) == {"id": "1", "x": "\N{SNOWMAN}"}


@pytest.mark.promise(25)
def test_parameters_may_be_multipart() -> None:
    body = multipart(
        ('Content-Disposition: form-data; name="id"', b"1"),
        (
            'Content-Disposition: form-data; name="secret"; filename="s.txt"\r\nContent-Type: text/plain',
            b" \xe2\x98\x83\r\n",
        ),
    )
    assert read(body=body, content_type="multipart/form-data; boundary=b") == {"id": "1", "secret": " \N{SNOWMAN}\r\n"}
    assert read(body=body, content_type='Multipart/Form-Data; boundary="b"')["id"] == "1"


def test_parameters_may_be_json() -> None:
    content = {"id": "1", "removeFileWhenFinished": False, "maxSize": 7, "allowedTypes": [".a", ".b"], "destType": None}
    assert read(body=json.dumps(content).encode(), content_type="application/json") == {
        "id": "1",
        "removeFileWhenFinished": False,
        "maxSize": 7,
        "allowedTypes": [".a", ".b"],
        "destType": None,
    }


def test_the_body_wins_over_the_query_and_the_last_over_the_first() -> None:
    assert read("id=q&x=q&x=r", b"id=a&id=b", FORM) == {"id": "b", "x": "r"}
    assert read("id=q", b'{"id": "b"}', "application/json") == {"id": "b"}


@pytest.mark.promise(40)
def test_nothing_is_stripped() -> None:
    assert read("s=%20a%0D%0A%00") == {"s": " a\r\n\0"}
    assert read(body=b"s=+a+", content_type=FORM) == {"s": " a "}
    assert read(body=b'{"s": " a\\t"}', content_type="application/json") == {"s": " a\t"}


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("text/plain", b"id=1", "a body is"),
        ("", b"id=1", "a body is"),
        ("application/x-www-form-urlencodedx", b"id=1", "a body is"),
        (FORM, b"id=%FF", "not valid UTF-8"),
        (FORM, b"&".join(b"a=1" for _ in range(101)), "not valid application/x-www-form-urlencoded"),
        ("multipart/form-data", multipart(), "not valid multipart/form-data"),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense", "not valid multipart/form-data"),
        ("multipart/form-data; boundary=b", multipart(("X: y", b"")), "not valid multipart/form-data"),
        ("multipart/form-data; boundary=b", multipart(("Content-Disposition: form-data", b"")), "not valid"),
        (
            "multipart/form-data; boundary=b",
            multipart(*[('Content-Disposition: form-data; name="a"', b"")] * 200),
            "not valid multipart/form-data",
        ),
        (
            "multipart/form-data; boundary=b",
            multipart(('Content-Disposition: form-data; name="a"; x="' + "x" * 2000 + '"', b"")),
            "not valid multipart/form-data",
        ),
        ("application/json", b"{", "not valid JSON"),
        ("application/json", b"\xff\xfe\xfa", "not valid JSON"),
        ("application/json", b"[" * 60000, "not valid JSON"),
        ("application/json", b"[]", "is an object"),
        ("application/json", b'{"id": {}}', "'id' in a JSON body is a string"),
        ("application/json", b'{"id": 1.5}', "'id' in a JSON body is a string"),
        ("application/json", b'{"id": [1]}', "'id' in a JSON body is a string"),
        ("application/json", b'{"id": "\\ud800"}', "half a surrogate pair"),
        ("application/json", b'{"id": ["\\ud800"]}', "half a surrogate pair"),
    ],
)
def test_bad_bodies_are_refused(content_type: str, body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read("", body, content_type)
    assert words in caught.value.message


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedEncoding):
        read("", b"\x1f\x8b", FORM, Content_Encoding="gzip")
    assert read("", b"id=1", FORM, Content_Encoding="identity") == {"id": "1"}
