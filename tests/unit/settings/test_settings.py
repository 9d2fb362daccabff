"""The configuration: every key from every source, precedence, and the texts of refusals."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from incoming import __version__
from incoming.settings.object_stores import ObjectStore
from incoming.settings.settings import KEYS, ConfigError, Settings, ignored_variables, load_settings
from tests.support.tools import ROOT

AUTHORITY = ROOT / "tests" / "vectors" / "authority.pem"

# Of every key a value other than its default, as an operator would write it, and what comes of it.
OTHER_VALUES: dict[str, tuple[str, object]] = {
    "address": ("127.0.0.1", "127.0.0.1"),
    "port": ("4321", 4321),
    "storage_dir": ("/srv/uploads", Path("/srv/uploads")),
    "database": ("postgresql://incoming:secret@db/uploads", "postgresql://incoming:secret@db/uploads"),
    "database_direct": ("postgresql://incoming:secret@db2/uploads", "postgresql://incoming:secret@db2/uploads"),
    "instance": ("upload-2", "upload-2"),
    "workers": ("3", 3),
    "log_level": ("warning", "warning"),
    "log_format": ("json", "json"),
    "object_stores": ("{s3: {bucket: uploads}}", (ObjectStore(name="s3", bucket="uploads"),)),
    "dest_types": ("file", ("file",)),
    "spool_size": ("100MB", 100_000_000),
    "park_after": ("5s", 5.0),
    "durability": ("power", "power"),
    "chunk_min": ("32KiB", 32768),
    "chunk_max": ("4 MiB", 4 * 1024**2),
    "window": ("16MB", 16_000_000),
    "memory": ("1GiB", 1024**3),
    "connections_per_upload": ("4", 4),
    "checkpoint_bytes": ("1GiB", 1024**3),
    "checkpoint_seconds": ("500ms", 0.5),
    "ping_interval": ("15s", 15.0),
    "dead_after": ("2min", 120.0),
    "hello_timeout": ("3", 3.0),
    "connections_per_client": ("50", 50),
    "max_strangers": ("20", 20),
    "minimum_rate": ("2KiB", 2048),
    "max_header": ("8KiB", 8192),
    "max_tickets": ("0", 0),
    "max_size": ("1.5TB", 1_500_000_000_000),
    "storage_quota": ("2TB", 2_000_000_000_000),
    "limit_counting": ("sharded", "sharded"),
    "idle_timeout": ("1h", 3600.0),
    "paused_timeout": ("30d", 30 * 86400.0),
    "tombstone_time": ("1d", 86400.0),
    "failed_grace": ("0", 0.0),
    "handover_timeout": ("20.5", 20.5),
    "handover_retry_time": ("2h", 7200.0),
    "handover_refusal_time": ("30s", 30.0),
    "handover_wait_timeout": ("0", 0.0),
    "handover_max_backoff": ("5m", 300.0),
    "handover_connections": ("2", 2),
    "callback_hosts": ("App.example.org, [::1]:8080", ("app.example.org", "::1:8080")),
    "callback_networks": ("10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    "callback_ca_file": (str(AUTHORITY), str(AUTHORITY)),
    "finish_requires_secret": ("ON", True),
    "drain_timeout": ("5", 5.0),
    "low_space": ("10GiB", 10 * 1024**3),
    "file_mode": ("0600", 0o600),
    "dir_mode": ("700", 0o700),
    "backend_networks": ("10.1.2.3, 2001:db8::/32", (ip_network("10.1.2.3/32"), ip_network("2001:db8::/32"))),
    "backend_token": ("correct-horse-battery", "correct-horse-battery"),
    "trusted_proxies": ("::ffff:10.0.0.0/104", (ip_network("10.0.0.0/8"),)),
    "public_url": ("https://Example.org:8443/up/", "https://Example.org:8443/up"),
    "frontend_hosts": ("U1.example.org, [::1]:8080", ("u1.example.org", "[::1]:8080")),
    "interim_answers": ("true", "true"),
    "max_append_size": ("100MB", 100_000_000),
    "allowed_origins": (
        "https://App.example.org,http://localhost:8080",
        ("https://app.example.org", "http://localhost:8080"),
    ),
}

# Of every key with limits: the last value allowed and the next one.
LIMITS = [
    ("port", "65535", "65536"),
    ("instance", "a" * 63, "a" * 64),
    ("instance", "up-1.example_org", "up:1"),
    ("workers", "64", "65"),
    ("workers", "1", "0"),
    ("chunk_min", "1", "0"),
    ("chunk_max", "64MiB", "67108865"),
    ("window", "4GiB", "4294967297"),
    ("connections_per_upload", "1", "0"),
    ("connections_per_upload", "256", "257"),
    ("checkpoint_seconds", "100ms", "99ms"),
    ("spool_size", "1MiB", "1048575"),
    ("park_after", "100ms", "99ms"),
    ("max_size", "9007199254740991", "9007199254740992"),
    ("idle_timeout", "1", "0.9"),
    ("handover_timeout", "3600", "3601"),
    ("backend_token", "0123456789abcdef", "0123456789abcde"),
    ("file_mode", "0600", "0400"),
    ("file_mode", "0664", "0666"),
    ("dir_mode", "0700", "0600"),
]


def file_with(tmp_path: Path, text: str) -> str:
    path = tmp_path / "incoming.yaml"
    path.write_text(text)
    return str(path)


def refusal(arguments: list[str], environment: dict[str, str] | None = None) -> str:
    """The one line that the operator reads."""
    with pytest.raises(ConfigError) as caught:
        load_settings(arguments, environment or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_defaults_are_those_of_the_dataclass() -> None:
    assert load_settings([], {}) == replace(Settings(), storage_dir=Path("incoming-data").absolute())


def test_every_key_has_a_test_value() -> None:
    assert list(OTHER_VALUES) == [entry.name for entry in fields(Settings)]


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_key_from_every_source(name: str, tmp_path: Path) -> None:
    text, value = OTHER_VALUES[name]
    assert getattr(Settings(), name) != value
    for arguments, environment in (
        (["--config", file_with(tmp_path, f'{name}: "{text}"')], {}),
        ([], {"INCOMING_" + name.upper(): text}),
        ([option(name), text], {}),
        ([f"{option(name)}={text}"], {}),
    ):
        assert getattr(load_settings(arguments, environment), name) == value


def test_the_command_line_overrides_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = file_with(tmp_path, "port: 1\nworkers: 1\nlog_level: error\n")
    settings = load_settings(["--config", file, "--port", "3"], {"INCOMING_PORT": "2", "INCOMING_WORKERS": "2"})
    assert (settings.port, settings.workers, settings.log_level) == (3, 2, "error")


def test_the_file_can_be_named_in_the_environment(tmp_path: Path) -> None:
    assert load_settings([], {"INCOMING_CONFIG": file_with(tmp_path, "port: 77")}).port == 77


def test_usual_yaml_spellings_are_accepted(tmp_path: Path) -> None:
    text = 'file_mode: 0600\nfinish_requires_secret: yes\nbackend_networks: [10.0.0.1, "::1"]\nhello_timeout: 1.5\n'
    settings = load_settings(["--config", file_with(tmp_path, text)], {})
    assert settings.file_mode == 0o600
    assert settings.finish_requires_secret is True
    assert settings.backend_networks == (ip_network("10.0.0.1"), ip_network("::1"))
    assert settings.hello_timeout == 1.5
    assert load_settings(["--config", file_with(tmp_path, "# nothing\n")], {}).port == 4000


def test_a_flag_needs_no_value() -> None:
    assert load_settings(["--finish-requires-secret"], {}).finish_requires_secret is True
    assert load_settings(["--finish-requires-secret", "no"], {}).finish_requires_secret is False


def test_a_list_can_be_emptied() -> None:
    assert load_settings(["--backend-networks", ""], {}).backend_networks == ()


@pytest.mark.parametrize("name", OTHER_VALUES)
@pytest.mark.parametrize("empty", ["", " ", ","])
def test_an_empty_variable_does_not_override_the_file(name: str, empty: str, tmp_path: Path) -> None:
    if empty == "," and not KEYS[name]["form"].is_list:
        return
    text, value = OTHER_VALUES[name]
    variables = {"INCOMING_" + name.upper(): empty}
    file = file_with(tmp_path, f'{name}: "{text}"')
    assert getattr(load_settings(["--config", file], variables), name) == value
    assert load_settings([], variables) == load_settings([], {})
    assert ignored_variables({**variables, "INCOMING_PORT": "1", "HOME": ""} | variables) == list(variables)


def test_an_empty_variable_must_still_be_a_key() -> None:
    assert "key 'prot' is unknown" in refusal([], {"INCOMING_PROT": ""})


RESTRICTING = ["backend_token", "allowed_origins", "callback_hosts", "callback_networks"]


@pytest.mark.parametrize("name", RESTRICTING)
def test_an_empty_option_lifts_no_restriction_of_file_or_environment(name: str, tmp_path: Path) -> None:
    text, _ = OTHER_VALUES[name]
    words = f"{option(name)} is empty, but the environment or the file sets {name}"
    assert words in refusal([option(name), "", "--config", file_with(tmp_path, f'{name}: "{text}"')])
    assert words in refusal([f"{option(name)}= "], {"INCOMING_" + name.upper(): text})
    assert not getattr(load_settings([option(name), ""], {}), name)


@pytest.mark.parametrize(("name", "last", "beyond"), LIMITS)
def test_values_beyond_a_limit_are_refused(name: str, last: str, beyond: str) -> None:
    together = {"INCOMING_WINDOW": "4GiB", "INCOMING_CHUNK_MIN": "1", "INCOMING_HANDOVER_RETRY_TIME": "365d"}
    load_settings([option(name), last], together)
    line = refusal([option(name), beyond], together)
    assert line.startswith(f"{option(name)}: ")
    assert KEYS[name]["form"].wanted in line


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--chunk-max", "9x"], {}, "--chunk-max: '9x' is not a size from 1 to 64MiB, such as 8388608 or 8MiB"),
        (["--port", "1_0"], {}, "--port: '1_0' is not an integer from 0 to 65535"),
        (["--port", "\N{ARABIC-INDIC DIGIT ONE}"], {}, "is not an integer"),
        (["--port"], {}, "--port: expected one argument"),
        (["--idle-timeout", "-1"], {}, "--idle-timeout"),
        (["--max-size", "0.3B"], {}, "--max-size: '0.3B' is not a size"),
        (["--address", "a b"], {}, "--address: 'a b' is not an IP address"),
        (["--log-level", "loud"], {}, "--log-level: 'loud' is not one of debug, info, warning, error"),
        (["--backend-networks", "10.0.0.1/8"], {}, "10.0.0.1/8 has host bits set"),
        (["--allowed-origins", "https://a.org/page"], {}, "'https://a.org/page' is not an origin"),
        (["--callback-hosts", "http://a.org"], {}, "'http://a.org' is not a host"),
        (["--frontend-hosts", "http://a.org"], {}, "'http://a.org' is not a host"),
        (["--frontend-hosts", "::1"], {}, "'::1' is not a host"),
        (["--storage-dir", ""], {}, "--storage-dir: '' is not a path"),
        (["--callback-ca-file", "/nowhere.pem"], {}, "--callback-ca-file: '/nowhere.pem' is not a readable file with"),
        (["--callback-ca-file", __file__], {}, "test_settings.py' is not a readable file with certificates in PEM"),
        (["--prot", "1"], {}, "unrecognized arguments: --prot 1; did you mean --port?"),
        (["--por", "1"], {}, "unrecognized arguments: --por 1; did you mean --port?"),
        (["extra"], {}, "unrecognized arguments: extra; --help lists all options"),
        ([], {"INCOMING_PROT": "1"}, "environment variable INCOMING_PROT: key 'prot' is unknown; did you mean 'port'?"),
        ([], {"INCOMING_PORT": "tcp://10.0.0.1:4000"}, "INCOMING_PORT: 'tcp://10.0.0.1:4000' is not an integer"),
        (["--chunk-min", "9MiB"], {}, "chunk_min (9437184) is above chunk_max (8388608)"),
        (["--window", "1MiB"], {}, "chunk_max (8388608) is above window (1048576)"),
        (["--ping-interval", "61"], {}, "ping_interval (61.0) is above dead_after (60.0)"),
        (
            ["--dest-types", "flie"],
            {},
            "dest_types: 'flie' is neither 'file' nor a name in object_stores; did you mean",
        ),
        (["--object-stores", "s3"], {}, "--object-stores: its value is not a mapping of names to properties, such as"),
        (["--object-stores", "{s3: {}}"], {}, "(s3 has no bucket)"),
        (["--idle-timeout", "8d"], {}, "idle_timeout (691200.0) is above paused_timeout (604800.0)"),
    ],
)
def test_bad_values_get_one_clear_line(arguments: list[str], environment: dict[str, str], words: str) -> None:
    assert words in refusal(arguments, environment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot: 1", "key 'prot' is unknown; did you mean 'port'?"),
        ("xyzzy: 1", "key 'xyzzy' is unknown"),
        ("port: high", "port: 'high' is not an integer from 0 to 65535"),
        ("port:", "port: '' is not an integer"),
        ("port: [1, 2]", "is not an integer"),
        ("port: {a: 1}", "is not an integer"),
        ("backend_networks: [{a: 1}]", "is not a list of networks"),
        ("port: 1\nport: 2", "duplicate key"),
        ("[port]", "expected 'key: value' lines"),
        ("port: [", "not valid YAML"),
        ("port: !!python/object/apply:os.getpid []", "is not an integer"),
        ("? [a]\n: 1", "not valid YAML"),
    ],
)
def test_bad_files_get_one_clear_line(text: str, words: str, tmp_path: Path) -> None:
    line = refusal(["--config", file_with(tmp_path, text)])
    assert line.startswith(str(tmp_path / "incoming.yaml"))
    assert words in line


def test_an_unreadable_file_gets_one_clear_line(tmp_path: Path) -> None:
    assert refusal(["--config", str(tmp_path / "none.yaml")]) == f"{tmp_path}/none.yaml: No such file or directory"
    (tmp_path / "incoming.yaml").write_bytes(b"port: \xff")
    assert "not valid YAML" in refusal(["--config", str(tmp_path / "incoming.yaml")])


def test_the_token_is_never_shown() -> None:
    assert "pass word" not in refusal(["--backend-token", "pass word"])
    assert "battery" not in repr(load_settings([], {"INCOMING_BACKEND_TOKEN": "correct-horse-battery"}))


# --- as the operator sees it ------------------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "incoming.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_bad_value_stops_the_start() -> None:
    result = run("--port", "high")
    assert result.returncode == 2
    assert result.stderr == "incoming: --port: 'high' is not an integer from 0 to 65535\n"
    assert result.stdout == ""
    assert run(INCOMING_PROT="1").returncode == 2


def test_help_lists_every_option_with_its_default() -> None:
    result = run("--help")
    assert result.returncode == 0
    text = " ".join(result.stdout.partition("options:")[2].split())
    assert "--config FILE" in text
    for name, about in KEYS.items():
        told = re.search(rf" {option(name)} \S+ (.*?) \(default: (.*?)\)", text)
        assert told is not None, name
        assert told[2] == (about["default"] or "empty")


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"incoming {__version__}\n"


# --- as it is documented ----------------------------------------------------------------------------------------------


def test_the_shipped_file_has_every_key_with_its_default(tmp_path: Path) -> None:
    text = (ROOT / "conf" / "incoming.yaml").read_text()
    uncommented = re.sub(r"^#(?=[a-z_]+: )", "", text, flags=re.MULTILINE)
    told = re.findall(r"^([a-z_]+): ", uncommented, flags=re.MULTILINE)
    assert sorted(told) == sorted(KEYS)
    assert load_settings(["--config", file_with(tmp_path, uncommented)], {}) == load_settings([], {})
    assert load_settings(["--config", str(ROOT / "conf" / "incoming.yaml")], {}) == load_settings([], {})


def test_the_documentation_has_every_key_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| `?([^|`]*)`? \|", (ROOT / "doc" / "configuration.md").read_text(), re.MULTILINE
    )
    assert dict(rows) == {name: about["default"] or "empty" for name, about in KEYS.items()}
