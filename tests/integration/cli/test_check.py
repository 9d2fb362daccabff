"""`incoming check callback URL`, and how the command line finds its commands."""

import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from incoming.cli import check, main
from incoming.cli.checks import callback
from incoming.settings.command_line import GROUPS, option
from incoming.settings.settings import KEYS
from tests.support.app_stub import DROP, Answer, AppStub, Script
from tests.support.ports import free_port
from tests.support.tools import ROOT, require_tool


def tried(
    capsys: pytest.CaptureFixture[str], *words: str, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and output of a trial."""
    code = check.run(["callback", *words], environment or {})
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


@pytest.mark.parametrize("word", ["done", "wait", '"done"'])
def test_an_app_that_accepts_passes(word: str, app_stub: AppStub, capsys: pytest.CaptureFixture[str]) -> None:
    app_stub.default = word
    code, out = tried(capsys, f"{app_stub.url}?key=hidden", "--secret", "s3cret")
    plain = word.strip('"')
    assert code == 0
    first, took, path, last = out.splitlines()
    assert (first, last) == (
        f"calling {app_stub.url} as a trial, signed",
        f"the app answered '{plain}': callbacks work",
    )
    assert re.fullmatch(r"it took \d\.\d\d s", took)
    assert path.startswith("by this configuration files lie in /")
    [call] = app_stub.callbacks
    assert (call.headers["incoming-test"], call.params["test"], call.query) == ("yes", "yes", {"key": "hidden"})
    assert "incoming-signature" in call.headers


def test_an_app_that_works_before_it_answers_learns_to_answer_first(
    app_stub: AppStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(callback, "SLOW_RESPONSE", 0.0)
    code, out = tried(capsys, app_stub.url)
    assert code == 0
    assert "s; answer before the work is done, with 'wait' if need be" in out


@pytest.fixture
def secure_app(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An app over TLS that answers `done`: its URL, and the authority of its certificate, which ends in ten days."""
    file = tmp_path / "localhost.pem"
    command = [require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "10", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    file.write_bytes(subprocess.run([*command, "-keyout", "-", "-out", "-"], check=True, capture_output=True).stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    class App(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_: object) -> None:
            """The test's output is the check's."""

    server = HTTPServer(("127.0.0.1", 0), App)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}/", file
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_end_of_a_certificate_is_told_in_time(
    secure_app: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url, authority = secure_app
    code, out = tried(capsys, url, environment={"INCOMING_CALLBACK_CA_FILE": str(authority)})
    assert code == 0
    assert re.search(r"^TLSv1\.3; the certificate is valid for (9|10) more days; renew it$", out, re.MULTILINE)
    code, out = tried(capsys, url)
    assert code == 1
    assert "no secure connection" in out
    assert "callback_ca_file" in out


def test_a_redirect_is_named_with_its_cure(app_stub: AppStub, capsys: pytest.CaptureFixture[str]) -> None:
    app_stub.default = Answer(301, "", {"Location": f"{app_stub.url}/"})
    code, out = tried(capsys, app_stub.url)
    assert code == 1
    assert "cause: the URL redirects to one with a slash, and redirects are not followed" in out
    assert len(app_stub.callbacks) == 1


def test_a_trial_may_be_json(app_stub: AppStub, capsys: pytest.CaptureFixture[str]) -> None:
    assert tried(capsys, app_stub.url, "--format", "json")[0] == 0
    [call] = app_stub.callbacks
    assert (call.headers["content-type"], json.loads(call.body)["test"]) == ("application/json", True)


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (
            Answer(403, "<p>CSRF verification failed. Request aborted.</p>", {"Content-Type": "text/html"}),
            ["it answered 403 Forbidden: CSRF verification failed.", "cause: Django's CSRF check", "cure: decorate"],
        ),
        (
            Answer(403, "wrong secret"),
            ["it answered 403 Forbidden: wrong secret", "cause: the app was reached and", "cure: answer 'done'"],
        ),
        (Answer(200, "d\u200bone"), ["'done' nor 'wait' but 'd\\u200bone'", "cause: ", "cure: answer 'done', 'wait'"]),
        (DROP, ["the connection was closed without an answer", "cause: ", "cure: look into the app's log"]),
    ],
)
def test_a_failed_check_prints_the_answer_the_cause_and_the_fix(
    answer: Script, lines: list[str], app_stub: AppStub, capsys: pytest.CaptureFixture[str]
) -> None:
    app_stub.default = answer
    code, out = tried(capsys, app_stub.url)
    assert code == 1
    for line, words in zip(out.splitlines()[1:], lines, strict=True):
        assert words in line


def test_an_unreachable_app_fails_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = tried(capsys, f"http://127.0.0.1:{free_port()}/")
    assert code == 1
    assert "the trial failed: Connection refused\ncause: nothing listens" in out


def test_a_trial_obeys_the_operators_settings(
    app_stub: AppStub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "incoming.yaml").write_text("callback_hosts: other.example\n")
    for words, environment in (
        (("--config", str(tmp_path / "incoming.yaml")), None),
        ((), {"INCOMING_CALLBACK_NETWORKS": "192.0.2.0/24"}),
    ):
        code, out = tried(capsys, app_stub.url, *words, environment=environment)
        assert code == 1
        assert "this server may call" in out
    assert app_stub.callbacks == []


def test_the_secret_may_come_from_a_file(app_stub: AppStub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text(" s3 cret\r\nmore\n")
    assert tried(capsys, app_stub.url, "--secret-file", str(tmp_path / "secret"))[0] == 0
    assert app_stub.callbacks[0].params["secret"] == " s3 cret"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ftp://a/",), "the URL 'ftp://a/' cannot be used: it must be absolute"),
        (("http://a/", "--config", "/nowhere.yaml"), "/nowhere.yaml: No such file"),
        (("http://a/", "--secret-file", "/nowhere"), "/nowhere: No such file or directory"),
        (("http://a/", "--secret", "x", "--secret-file", "y"), "not both"),
        (("http://a/", "--secret", "x" * 4097), "the secret has 4097 characters, the limit is 4096"),
    ],
)
def test_usage_errors_exit_with_2(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(["callback", *words], {}) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["uplaods"], 2, "command 'uplaods' is unknown; did you mean 'uploads'; --help lists all options"),
        (
            ["make-coffee"],
            2,
            "'make-coffee' is unknown; commands are serve, uploads, database, check, doctor, send",
        ),
        (["serve", "--prot", "1"], 2, "unrecognized arguments: --prot 1"),
        (["--prot", "1"], 2, "unrecognized arguments: --prot 1; did you mean --port?"),
        (["uploads", "lst"], 2, "invalid choice: 'lst' (choose from"),
        (["uploads", "lst"], 2, "; did you mean list?"),
        (["uploads", "list", "--serch", "x"], 2, "unrecognized arguments: --serch x; did you mean --search?"),
        (["check", "proxy", "http://x", "--ca-flie", "x"], 2, "; did you mean --ca-file?"),
    ],
)
def test_an_unknown_command_is_a_usage_error(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        sys.exit(main.main(words))
    assert end.value.code == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"]])
def test_help_has_commands_and_options_in_groups(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(words)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    commands = ("serve", "uploads", "check callback URL", "send FILE URL")
    for word in (*commands, *(f"\n{title}:\n" for title in GROUPS), *map(option, KEYS)):
        assert word in out
    assert "\nothers:" not in out


def test_every_option_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(KEYS)


def test_the_command_is_reached_from_a_shell(app_stub: AppStub) -> None:
    line = [sys.executable, str(ROOT / "incoming.py"), "check", "callback", app_stub.url]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("the app answered 'done': callbacks work\n")
