"""`incoming check config`, `storage` and `proxy`, and `incoming doctor`: every fault is found, with its cure."""

import errno
import os
import re
from pathlib import Path

import pytest

from incoming.cli import check, doctor
from incoming.cli.checks import config, proxy, storage
from incoming.cli.checks.storage import check_storage
from incoming.settings.settings import Settings, load_settings
from tests.conftest import StartProxy
from tests.support.app_stub import Answer, AppStub
from tests.support.fault_proxy import TO_SERVER
from tests.support.incoming_server import IncomingServer


def run(
    capsys: pytest.CaptureFixture[str], *words: str, environment: dict[str, str] | None = None
) -> tuple[int, list[str], str]:
    """Exit code, faults and output of `incoming check`."""
    code = check.run(words, environment or {})
    out, err = capsys.readouterr()
    assert err == ""
    return code, re.findall(r"^FAULT  (.*)$", out, re.MULTILINE), out


# --- the configuration ------------------------------------------------------------------------------------------------


def test_a_good_configuration_has_no_fault_and_shows_what_it_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "incoming.yaml"
    file.write_text('port: 4100\nbackend_token: a-very-secret-token-indeed\ndir_mode: "0770"\n')
    code, faults, out = run(capsys, "config", "--config", str(file))
    assert (code, faults) == (0, [])
    assert "note   port = 4100\n" in out
    assert "note   backend_token is set\n" in out
    assert "note   dir_mode = 0770\n" in out
    assert "a-very-secret" not in out
    assert out.endswith("configuration: no fault\n")


@pytest.mark.parametrize(
    ("text", "environment", "fault"),
    [
        ("prot: 1", {}, "did you mean"),
        ("port: many", {}, "port"),
        ("backend_networks: 0.0.0.0/0", {}, "anybody in 0.0.0.0/0 may call the backend functions"),
        ("", {"INCOMING_BACKEND_TOKEN": ""}, "INCOMING_BACKEND_TOKEN is empty and ignored"),
    ],
)
def test_each_fault_of_a_configuration_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, environment: dict[str, str], fault: str
) -> None:
    file = tmp_path / "incoming.yaml"
    file.write_text(text)
    code, faults, out = run(capsys, "config", "--config", str(file), environment=environment)
    assert (code, len(faults)) == (1, 1), out
    assert fault in faults[0]
    assert out.endswith("configuration: 1 to change\n")


def test_a_token_or_the_loopback_address_closes_wide_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ("backend_token: a-very-secret-token-indeed", "address: 127.0.0.1"):
        file = tmp_path / "incoming.yaml"
        file.write_text(f"backend_networks: 0.0.0.0/0\n{more}\n")
        assert run(capsys, "config", "--config", str(file))[0] == 0


def test_few_descriptors_are_a_fault(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.resource, "getrlimit", lambda _: (256, 1024))
    code, faults, out = run(capsys, "config")
    assert (code, len(faults)) == (1, 1)
    assert "may have 1024 open files" in faults[0]
    assert "LimitNOFILE" in out


# --- the storage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    directory = tmp_path / "storage"
    directory.mkdir(mode=0o750)
    return load_settings(["--storage-dir", str(directory)], {})


def faults_of(settings: Settings, taken_to: Path | None = None) -> list[str]:
    return [line for line in check_storage(settings, taken_to).lines if line.startswith("FAULT")]


def test_a_good_directory_is_measured_and_left_as_it_was(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SLOW_SYNC", 1e9)
    monkeypatch.setattr(storage, "SLOW_WRITE", 0)
    monkeypatch.setattr(storage, "VOLATILE", {})
    (tmp_path / "app").mkdir()
    found = check_storage(settings, tmp_path / "app")
    assert found.faults == 0, found.lines
    text = "\n".join(found.lines)
    for fact in ("locked, synced and renamed", "are free", "written and synced", "a sync takes", "by a rename"):
        assert fact in text
    assert list(settings.storage_dir.iterdir()) == list((tmp_path / "app").iterdir()) == []


def test_a_missing_directory_is_not_created(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, faults, _ = run(capsys, "storage", environment={"INCOMING_STORAGE_DIR": str(tmp_path / "none")})
    assert (code, faults) == (1, [f"there is no directory {tmp_path}/none"])
    assert not (tmp_path / "none").exists()


def test_slow_disks_open_modes_and_foreign_clocks_are_faults(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))
    settings.storage_dir.chmod(0o755)
    monkeypatch.setattr(storage.time, "time", lambda: 0.0)
    found = check_storage(settings, clock=lambda: float(next(ticks)) * 30)
    text = "\n".join(found.lines)
    for fault in (
        "written and synced, which is slow",
        "a sync takes 30000.0 ms, which is slow",
        "mode 755",
        "clock of",
    ):
        assert fault in text


def test_a_full_disk_and_missing_calls_are_faults(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(storage, "FEW_FILES", 10**18)
        low = load_settings(["--storage-dir", str(settings.storage_dir), "--low-space", "1000TiB"], {})
        text = "\n".join(faults_of(low))
        assert "less than low_space" in text
        assert os.statvfs(settings.storage_dir).f_files == 0 or "more files can be made" in text

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    [fault] = faults_of(settings)
    assert "flock fails (No locks available); use a file system with file locks" in fault


def test_memory_and_container_layers_are_refused_as_storage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("tmpfs", "overlay"):
        monkeypatch.setattr(storage, "kind_of", lambda _, kind=kind: kind)
        assert any(f"is on {kind}, which ends with" in fault for fault in faults_of(settings))


def test_the_applications_directory_is_tested(settings: Settings, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if memory.stat().st_dev != tmp_path.stat().st_dev:
        assert any("are copied, which takes time" in line for line in check_storage(settings, memory).lines)
    assert any("no file can be moved to" in fault for fault in faults_of(settings, tmp_path / "none"))


def test_where_an_application_sees_the_directory_is_tested(settings: Settings, tmp_path: Path) -> None:
    def seen(directory: Path) -> str:
        return "\n".join(check_storage(settings, seen_at=directory).lines)

    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(settings.storage_dir)
    assert f"the app sees {settings.storage_dir} under the same path" in seen(settings.storage_dir)
    assert "is not in" in seen(tmp_path / "other")
    assert "which the app sees at" in seen(tmp_path / "link")
    assert list(settings.storage_dir.iterdir()) == []


# --- a proxy ----------------------------------------------------------------------------------------------------------


def test_a_proxy_that_alters_requests_is_detected(
    server: IncomingServer,
    start_proxy: StartProxy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy, "BODY", 256 * 1024)
    between = start_proxy(server.port)
    words = ("proxy", between.base_url, "--server", server.base_url)
    open_functions = "the backend functions can be called by this way, at least from this machine"
    assert run(capsys, *words)[:2] == (1, [open_functions])
    between.answer(404, "nothing here")
    _, faults, _ = run(capsys, *words)
    assert [fault.partition(":")[0] for fault in faults] == ["http"]
    assert "HTTP status 404: nothing here" in faults[0]


def test_a_proxy_that_buffers_bodies_is_detected(
    server: IncomingServer,
    start_proxy: StartProxy,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line is so slow that a part of a body does not arrive in the time that is given to it."""
    monkeypatch.setattr(proxy, "BODY", 1024)
    monkeypatch.setattr(proxy, "FIRST_PART", 512)
    monkeypatch.setattr(proxy, "STREAMING_TIMEOUT", 0.0)
    between = start_proxy(server.port)
    between.limit(1_000_000, TO_SERVER)
    _, faults, _ = run(capsys, "proxy", between.base_url, "--server", server.base_url)
    assert "a body arrives only when all of it was sent" in faults


def test_a_stopped_server_is_reported(server: IncomingServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.stop()
    _, faults, _ = run(capsys, "proxy", server.base_url, "--server", server.base_url)
    assert faults[0].startswith(f"no ticket from the server at {server.base_url}: no answer from")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("proxy", "uploads.example.org"), "did you mean http://uploads.example.org"),
        (("proxy", "https://x", "--ca-file", "/none.pem"), "No such file"),
        (("storage", "--taken-to", "/none"), "--taken-to /none: there is no such directory"),
        (("storage", "--seen-at", "/none"), "--seen-at /none: there is no such directory"),
        (("storage", "--config", "/none.yaml"), "/none.yaml: No such file"),
    ],
)
def test_usage_errors_exit_with_2(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(words, {}) == 2
    assert message in capsys.readouterr().err


# --- the doctor -------------------------------------------------------------------------------------------------------


def test_the_doctor_writes_a_report_without_secrets(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "incoming.yaml", tmp_path / "report.txt"
    token = "a-very-secret-token-indeed"
    file.write_text(f"storage_dir: {settings.storage_dir}\nbackend_token: {token}\n")
    settings.storage_dir.chmod(0o757)
    code = doctor.run(["--config", str(file), "--output", str(output)], {"INCOMING_PORT": "4100", "TZ": "UTC"})
    said, report = capsys.readouterr().out, output.read_text()
    assert code == 1
    assert "FAULT  everybody on this machine may look into" in said
    assert f"the report is in {output}" in said
    for part in ("# Incoming!!", "Python 3", "tornado 6", "# configuration", "# storage", "port = 4100", "TZ=UTC"):
        assert part in report
    assert token not in report + said


def test_the_doctor_tries_a_callback(tmp_path: Path, app_stub: AppStub, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text("hidden-secret\n")
    output = tmp_path / "report.txt"
    words = ["--output", str(output), "--callback", app_stub.url, "--secret-file", str(tmp_path / "secret")]
    doctor.run(words, {"INCOMING_STORAGE_DIR": str(tmp_path)})
    assert app_stub.callbacks[0].params["secret"] == "hidden-secret"
    report = output.read_text()
    assert f"# callback {app_stub.url}" in report
    assert "ok     the app answered 'done'" in report
    assert "hidden-secret" not in report
    app_stub.default = Answer(404)
    assert doctor.run(words, {"INCOMING_STORAGE_DIR": str(tmp_path)}) == 1
    assert "FAULT  it answered 404" in output.read_text()
    assert doctor.run(["--callback", "ftp://a/"], {"INCOMING_STORAGE_DIR": str(tmp_path)}) == 2
    assert "doctor:" in capsys.readouterr().err


def test_the_doctor_reports_a_configuration_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.txt"
    assert doctor.run(["--output", str(output)], {"INCOMING_PORT": "many"}) == 1
    assert "INCOMING_PORT" in output.read_text()
    assert "FAULT" in capsys.readouterr().out
    assert doctor.run(["--output", str(tmp_path)], {}) == 2
