"""What may be given for the URL of an upload."""

import pytest

from incoming.client.upload.address import BadAddress, as_address, server_url, upload_address

TICKET = "1b2c3d4e-0000-4000-8000-000000000000"


@pytest.mark.parametrize("version", ["0.1/", ""])
@pytest.mark.parametrize("prefix", ["", "/files", "/a/b"])
@pytest.mark.parametrize("query", ["", "?filename=x", "/"])
def test_the_url_of_an_upload(version: str, prefix: str, query: str) -> None:
    base = f"https://up.example.org:8443{prefix}"
    address = as_address(f"{base}/incoming/{version}frontend/upload/{TICKET.upper()}{query}")
    assert address.http == f"{base}/incoming/0.1/frontend/upload/{TICKET}"
    assert address.websocket == f"wss{base[5:]}/incoming/0.1/frontend/upload_ws?ticket={TICKET}"


def test_the_url_of_a_server_has_no_ticket() -> None:
    assert upload_address("http://localhost:4000/") is None
    assert server_url("http://[::1]:4000/files/") == "http://[::1]:4000/files"
    with pytest.raises(BadAddress, match="is the URL of a server"):
        as_address("http://localhost:4000")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("localhost:4000", "did you mean http://localhost:4000?"),
        ("http:/x", "did you mean http://x?"),
        ("https:x", "did you mean https://x?"),
        ("", "is no URL of a server"),
        ("ftp://x", "is no URL of a server"),
        ("http://x:99999", "is no URL of a server"),
        ("http://[::1", "is no URL of a server"),
        ("http://user:secret@x", "no user name and no password"),
        (f"http://x/incoming/0.1/frontend/uploads/{TICKET}", "is no URL of an upload, such as"),
        ("http://x/incoming/0.1/frontend/upload/TICKET", "'TICKET' is no ticket"),
        (f"http://x/incoming/0.1/frontend/upload/{TICKET}0", "is no ticket"),
    ],
)
def test_everything_else_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(BadAddress) as caught:
        upload_address(text)
    assert hint in str(caught.value)
    assert f"did you mean {text}" not in str(caught.value)
    assert "secret" not in str(caught.value)
