"""Both examples against people who know the callback's URL, name their files oddly, or upload web pages."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.tools import unavailable
from tests.support.waiting import wait_until
from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming


@dataclass
class Example:
    """Either of the two, with what differs between them."""

    number: int
    app: ExampleApp
    incoming: FakeIncoming

    def new_ticket(self, name: str = "file.txt") -> str:
        if self.number == 1:
            self.app.get("/")
        else:
            self.app.get("/api/frontend/request_upload", params={"filename": name})
        return self.incoming.last_ticket()

    def upload(self, name: str, content: bytes) -> None:
        """Have a file handed over; returns when it is in the folder of uploads."""
        before = len(self.app.contents())
        answer = self.incoming.hand_over(self.new_ticket(name), content, name)
        assert answer.status_code == 200
        wait_until(lambda: self.app.is_at_rest() and len(self.app.contents()) > before, f"{name!r} to be taken")


@pytest.fixture(params=[1, 2])
def example(request: pytest.FixtureRequest, start_example: StartExample, incoming: FakeIncoming) -> Example:
    number = request.param
    return Example(number, start_example(number, *(["--delay", "0"] if number == 2 else [])), incoming)


Forgery = Callable[[FakeIncoming, str, Path], str]


def _symlink_to_a_secret(incoming: FakeIncoming, ticket: str, secret: Path) -> str:
    link = incoming.file_of(ticket)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(secret)
    return str(link)


def _below_a_symlink(incoming: FakeIncoming, ticket: str, secret: Path) -> str:
    secret.rename(secret.with_name(ticket))
    (incoming.storage_dir / ticket[:2]).symlink_to(secret.parent)
    return str(incoming.storage_dir / ticket[:2] / ticket)


def _like_the_ticket_elsewhere(incoming: FakeIncoming, ticket: str, secret: Path) -> str:
    return str(secret.rename(secret.with_name(ticket)))


def _folder(incoming: FakeIncoming, ticket: str, secret: Path) -> str:
    incoming.file_of(ticket).mkdir(parents=True)
    return str(incoming.file_of(ticket))


def _file_of_another_upload(incoming: FakeIncoming, ticket: str, secret: Path) -> str:
    return str(incoming.store("another-ticket", b"another's"))


def _relative(incoming: FakeIncoming, ticket: str, secret: Path) -> str:
    path = incoming.store(ticket, b"content")
    return os.path.relpath(path, secret.parent.parent / "app-1")


FORGERIES: dict[str, Forgery] = {
    "etc_passwd": lambda incoming, ticket, secret: "/etc/passwd",
    "a secret": lambda incoming, ticket, secret: str(secret),
    "dots": lambda incoming, ticket, secret: f"{incoming.storage_dir}/../{secret.parent.name}/{secret.name}",
    "dots behind the ticket": lambda incoming, ticket, secret: f"{incoming.file_of(ticket)}/../../{secret.name}",
    "database": lambda incoming, ticket, secret: str(incoming.storage_dir / "incoming.sqlite"),
    "symlink": _symlink_to_a_secret,
    "below a symlink": _below_a_symlink,
    "named like the ticket": _like_the_ticket_elsewhere,
    "folder": _folder,
    "another upload": _file_of_another_upload,
    "relative": _relative,
    "nothing": lambda incoming, ticket, secret: "",
    "NUL": lambda incoming, ticket, secret: f"{incoming.file_of(ticket)}\0.txt",
    "missing": lambda incoming, ticket, secret: str(incoming.file_of(ticket)),
    "too long": lambda incoming, ticket, secret: "/x" * 5000,
}


@pytest.fixture
def secret(tmp_path: Path, incoming: FakeIncoming) -> Iterator[Path]:
    """A file that must stay where it is, and a database in the storage directory that must as well."""
    (incoming.storage_dir / "incoming.sqlite").write_text("tickets")
    path = tmp_path / "private" / "secret.txt"
    path.parent.mkdir()
    path.write_text("secret")
    yield path
    assert (incoming.storage_dir / "incoming.sqlite").read_text() == "tickets"
    assert [other.read_text() for other in path.parent.iterdir()] == ["secret"]


@pytest.mark.promise(116, 125)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_path_is_refused_even_with_the_secret(example: Example, secret: Path, forgery: str) -> None:
    ticket = example.new_ticket()
    filename = FORGERIES[forgery](example.incoming, ticket, secret)
    answer = example.incoming.call_back(ticket, filename=filename)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert str(secret.parent) not in answer.text
    assert example.app.contents() == {}
    assert Path("/etc/passwd").is_file()


@pytest.mark.promise(116, 125)
def test_a_storage_directory_behind_a_symlink_is_fine(example: Example) -> None:
    ticket = example.new_ticket()
    stored = example.incoming.store(ticket, b"content")
    alias = example.app.directory / "alias"
    alias.symlink_to(example.incoming.storage_dir)
    answer = example.incoming.call_back(ticket, filename=str(alias / stored.relative_to(example.incoming.storage_dir)))
    assert answer.status_code == 200


@pytest.mark.promise(116, 118)
@pytest.mark.parametrize(
    ("name", "kept_as"),
    [
        ("../../../etc/cron.d/job", "job"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\x.txt", "x.txt"),
        ("..", "upload"),
        (".", "upload"),
        ("", "upload"),
        ("dir/", "upload"),
        (".htaccess", "htaccess"),
        ("nul\0in\nthe\x1b[31m middle.txt", "nulinthe[31m middle.txt"),
        ("exe.\u202egpj", "exe.gpj"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("quote\";'& %2e%2e.txt", "quote\";'& %2e%2e.txt"),
        ("größe ☃ 👩\u200d🚀.txt", "größe ☃ 👩\u200d🚀.txt"),
        ("ä" * 300 + ".tar.gz", "ä" * 98 + ".gz"),
        ("x" * 300, "x" * 200),
    ],
)
def test_odd_names_are_stored_safely(example: Example, name: str, kept_as: str) -> None:
    example.upload(name, b"content")
    assert example.app.contents() == {kept_as: b"content"}
    url = "/uploads/" + requests.utils.quote(kept_as, safe="")
    assert example.app.get(url).content == b"content"


def test_a_trial_call_is_answered_and_changes_nothing(example: Example) -> None:
    ticket = example.new_ticket()
    stored = example.incoming.store(ticket, b"content")
    answer = example.incoming.call_back(ticket, id="no-ticket", backendSecret="any", test="yes")
    assert (answer.status_code, answer.text) == (200, "done")
    assert example.incoming.call_back(ticket, test="yes").text == "done"
    assert stored.read_bytes() == b"content"
    assert example.app.contents() == {}


@pytest.mark.promise(116)
def test_three_files_of_one_name_are_kept_apart(example: Example) -> None:
    for content in (b"1", b"2", b"3"):
        example.upload("photo.jpg", content)
    assert example.app.contents() == {"photo.jpg": b"1", "photo (2).jpg": b"2", "photo (3).jpg": b"3"}


@pytest.mark.promise(116)
def test_the_uploads_may_be_on_another_file_system(start_example: StartExample, incoming: FakeIncoming) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == incoming.storage_dir.stat().st_dev:
        unavailable("needs /dev/shm as a second file system")
    app = start_example(1)
    example = Example(1, app, incoming)
    elsewhere = memory / f"incoming-test-{app.port}"
    elsewhere.mkdir()
    try:
        incoming.storage_dir.rmdir()
        incoming.storage_dir.symlink_to(elsewhere)
        content = os.urandom(3_000_000)
        for _ in range(2):
            example.upload("file.bin", content)
        assert app.contents() == {"file.bin": content, "file (2).bin": content}
        assert [path for path in elsewhere.rglob("*") if path.is_file()] == []
    finally:
        for path in sorted(elsewhere.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        elsewhere.rmdir()
        incoming.storage_dir.unlink()


@pytest.mark.promise(118)
@pytest.mark.parametrize("name", ["page.html", "picture.svg", "plain"])
def test_downloads_are_saved_and_never_shown(example: Example, name: str) -> None:
    example.upload(name, b"<script>alert(1)</script>")
    answer = example.app.get(f"/uploads/{name}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{name}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"].split("; ")
    part = example.app.get(f"/uploads/{name}", headers={"Range": "bytes=1-6"})
    assert (part.status_code, part.content) == (206, b"script")
    assert "attachment" in part.headers["Content-Disposition"]


@pytest.mark.promise(118)
@pytest.mark.parametrize(
    "path",
    [
        "../backend.py",
        "..%2Foutside.txt",
        "%2e%2e/outside.txt",
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        ".hidden",
        "link",
        "folder",
        "folder%2Finside.txt",
        "",
        "%00",
        "%ff%fe",
        "x" * 5000,
    ],
)
def test_nothing_else_can_be_downloaded(example: Example, path: str) -> None:
    (example.app.directory / "outside.txt").write_text("secret")
    (example.app.uploads / ".hidden").write_text("secret")
    (example.app.uploads / "link").symlink_to(example.app.directory / "outside.txt")
    (example.app.uploads / "folder").mkdir()
    (example.app.uploads / "folder" / "inside.txt").write_text("secret")
    url = f"{example.app.url}/uploads/{path}"
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", url))
        request.url = url  # as it is, without tidying up of dots
        answer = session.send(request, timeout=30)
    assert answer.status_code == 404
    assert "secret" not in answer.text


@pytest.mark.promise(118)
def test_every_answer_has_the_security_headers(example: Example) -> None:
    for path in ("/", "/nothing", "/uploads/nothing", "/static/style.css", "/api/nothing"):
        headers = example.app.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'"), path
        assert "unsafe" not in policy, path


@pytest.mark.promise(128, 137)
def test_the_page_may_talk_to_the_incoming_server(example: Example) -> None:
    host = f"127.0.0.1:{example.incoming.port}"
    answer = example.app.get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert f"http://{host}" in policy["script-src"].split()
    assert policy["connect-src"].split() == ["'self'", f"http://{host}", f"ws://{host}"]
    (nonce,) = (word for word in policy["script-src"].split() if word.startswith("'nonce-"))
    assert f'nonce="{nonce[7:-1]}"' in answer.text
    assert nonce not in example.app.get("/").headers["Content-Security-Policy"], "a nonce is used once"

    by_tls = example.app.get("/", headers={"X-Forwarded-Proto": "https"})
    assert f'src="https://{host}/incoming/0.1/frontend/incoming' in by_tls.text
    assert f"https://{host} wss://{host};" in by_tls.headers["Content-Security-Policy"]


@pytest.mark.promise(127)
@pytest.mark.parametrize(
    ("host", "name"), [("upload-test.lan:4001", "upload-test.lan"), ("localhost", "localhost"), ("[::1]:4001", "[::1]")]
)
def test_the_public_host_is_the_name_that_the_browser_used(example: Example, host: str, name: str) -> None:
    page = example.app.get("/", headers={"Host": host}).text
    assert f'src="http://{name}:{example.incoming.port}/incoming/0.1/frontend/incoming' in page


@pytest.mark.promise(127)
@pytest.mark.parametrize("host", ["evil; script-src *", '"><script>alert(1)</script>', "user@host", "a b"])
def test_an_invalid_host_header_gets_no_page(example: Example, host: str) -> None:
    answer = example.app.get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert "<script>" not in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
