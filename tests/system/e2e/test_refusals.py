"""What is refused, with its documented code and without harm; and names of every kind."""

from pathlib import Path

import pytest

from tests.support.known_files import KnownFile, make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage, over_both

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", 8 * MIB)


@over_both
@pytest.mark.promise(88, 89, 91, 102)
def test_an_unknown_ticket_is_refused(upload_page: UploadPage, file: KnownFile) -> None:
    upload = upload_page.upload("8d7b1a6e-0000-4000-8000-000000000000", file.path).start()
    end = upload.wait_until_over()
    upload.assert_lawful()
    assert (end.error_code, end.connected, end.can_cancel, end.can_pause) == (200, False, False, False)
    assert end.error_msg
    assert {call.callback for call in upload.calls} == {"onprogress", "onerror"}


@pytest.mark.parametrize("ticket", ["x", "../../etc/passwd", "%00", "<img src=x onerror=alert(1)>", "é" * 300])
def test_a_malformed_ticket_is_refused(upload_page: UploadPage, file: KnownFile, ticket: str) -> None:
    end = upload_page.upload(ticket, file.path).start().wait_until_over()
    assert end.error_code == 200


def test_bad_arguments_raise_an_error(upload_page: UploadPage) -> None:
    for call in (
        "incoming.Uploader()",
        "incoming.Uploader('ticket', 'name')",
        "incoming.Uploader('ticket', new Blob([]))",
        "incoming.Uploader('ticket', document.getElementById('file').files)",
        "incoming.Uploader(7, new File([], 'name'))",
    ):
        code = upload_page.tab.evaluate(f"try {{ {call}; 'none'; }} catch (error) {{ error.code; }}")
        assert code == 1003, call


@over_both
def test_a_file_from_another_frame_is_accepted(upload_page: UploadPage, app: UploadApp) -> None:
    """Its class is not the page's File, and it is one all the same."""
    ticket = app.new_ticket()
    frame = "document.body.appendChild(document.createElement('iframe')).contentWindow"
    upload_page.tab.evaluate(f"() => {{ window.foreign = new ({frame}).File(['content'], 'foreign.txt'); }}")
    assert upload_page.tab.evaluate("foreign instanceof File") is False
    upload_page.upload_of("foreign", ticket).start().wait_until_finished()
    assert app.receipts[ticket].name == "foreign.txt"


@over_both
def test_another_file_for_the_same_ticket_is_refused(
    upload_page: UploadPage, app: UploadApp, file: KnownFile, tmp_path: Path
) -> None:
    """It is refused, and the right one can still be finished."""
    ticket = app.new_ticket()
    right = upload_page.upload(ticket, file.path)
    right.set("max_rate", MIB)
    right.start().wait_for_bytes()
    right.pause("pause")
    other = make_file(tmp_path / "other.bin", file.size + 1, seed=1)
    wrong = upload_page.upload(ticket, other.path).start()
    assert wrong.wait_until_over().error_code == 400
    wrong.assert_lawful()
    right.set("max_rate", 0)
    right.pause("unpause")
    right.wait_until_finished()
    app.assert_received(ticket, file)


# --- Names


@pytest.mark.promise(52, 76)
@pytest.mark.parametrize(
    ("name", "shown", "handed_over"),
    [
        ("<img src=x onerror=alert(1)>.bin", "<img src=x onerror=alert(1)>.bin", "<img src=x onerror=alert(1)>.bin"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("C:\\Users\\me\\file.txt", "file.txt", "file.txt"),
        ("🎉 größer & ☃.bin", "🎉 größer & ☃.bin", "🎉 größer & ☃.bin"),
        ("a&filename=b#c%00+d.txt", "a&filename=b#c%00+d.txt", "a&filename=b#c%00+d.txt"),
    ],
)
def test_file_names_are_shown_and_handed_over(
    upload_page: UploadPage, app: UploadApp, name: str, shown: str, handed_over: str
) -> None:
    ticket = app.new_ticket()
    upload_page.tab.evaluate("(name) => { window.made = new File(['content'], name); }", name)
    upload = upload_page.upload_of("made", ticket)
    assert upload.now.filename == shown
    upload.start().wait_until_finished()
    (callback,) = app.of(ticket)
    assert callback.params["filenameFromBrowser"] == handed_over
    assert Path(callback.params["filename"]).name == ticket, "the path is the server's own choice"
