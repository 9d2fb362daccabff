"""What is shown of an app's callback URL."""

import pytest

from incoming.core.callback_url import app_host, shown_url


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://App.Example/x", "app.example:80"),
        ("https://app.example/x?y", "app.example:443"),
        ("http://user:secret@app.example:8080", "app.example:8080"),
        ("http://[::1]:81/", "::1:81"),
        ("http://app.example:port/", ""),
        ("/x", ""),
    ],
)
def test_an_app_is_its_host_and_port(url: str, host: str) -> None:
    assert app_host(url) == host


@pytest.mark.parametrize(
    ("url", "secret", "shown"),
    [
        ("http://localhost:4001/api/done", "", "http://localhost:4001/api/done"),
        ("https://App.example", "", "https://app.example/"),
        ("http://app/done?key=s3cret&x=1#y", "s3cret", "http://app/done"),
        ("http://me:s3cret@app/done", "", "http://app/done"),
        ("http://app/hook/s3cret/done", "s3cret", "http://app/hook/***/done"),
        ("http://app/hook/a%20b%2Fc", "a b/c", "http://app/hook/***"),
        ("http://[::1]:81/", "", "http://[::1]:81/"),
        ("http://app/" + "x" * 400, "", "http://app/" + "x" * 289 + "…"),
        ("/done", "", ""),
        ("http://app:port/", "", ""),
    ],
)
def test_scheme_host_port_and_path_are_shown_and_nothing_secret(url: str, secret: str, shown: str) -> None:
    assert shown_url(url, secret) == shown


def test_a_secret_of_two_letters_is_not_masked() -> None:
    assert shown_url("http://app/example/done", "e") == "http://app/example/done"
