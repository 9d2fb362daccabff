"""The server's configuration: one frozen Settings from a YAML file, the environment and the command line.

This file decides which keys there are, their defaults and limits, and which source wins: command line over environment
over file. A key `some_key` of the file is INCOMING_SOME_KEY in the environment and --some-key on the command line.
Unknown keys and malformed values are refused with one line; an empty variable counts as not set. It does not know what
a setting does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from incoming.settings.command_line import ConfigError, option, option_parser
from incoming.settings.value_types import (
    Network,
    ValueType,
    base_url,
    certificates,
    choice,
    duration,
    flag,
    host,
    hosts,
    mode,
    networks,
    origins,
    path,
    size,
    token,
    whole,
    worker_count,
)

ENVIRONMENT_PREFIX = "INCOMING_"
KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4
DAY = 86400.0


def key(default: str, form: ValueType[Any], about: str) -> Any:
    """A field of Settings: `default` is text as an operator would write it."""
    metadata = {"default": default, "form": form, "about": about}
    return field(default=form.parse(default), repr=not form.is_secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an operator can choose. Sizes in bytes, times in seconds, 0 means none where it is allowed."""

    address: str = key("0.0.0.0", host(), "where to listen")  # noqa: S104 - a server for browsers
    port: int = key("4000", whole(0, 65535), "port to listen at; 0 takes a free one")
    storage_dir: Path = key("./incoming-data", path(), "directory for uploads and the database; made if missing")  # noqa: RUF009
    workers: int = key("auto", worker_count(), "processes that share the port and the storage")
    log_level: str = key("info", choice("debug", "info", "warning", "error"), "the least serious events to log")
    log_format: str = key("text", choice("text", "json"), "one line of text or one JSON object per event")

    durability: str = key(
        "process",
        choice("process", "power"),
        "what an acknowledged byte survives: the end of every process, or a power cut as well",
    )
    chunk_min: int = key("64KiB", size(1, 64 * MIB), "smallest chunk that clients are told to send")
    chunk_max: int = key("8MiB", size(1, 64 * MIB), "largest chunk that is accepted over a WebSocket")
    window: int = key("64MiB", size(1, 4 * GIB), "how far a client may send ahead of the acknowledgements")
    memory: int = key("256MiB", size(MIB, TIB), "received bytes that wait for the disk, in one worker")
    connections_per_upload: int = key("16", whole(1, 256), "how many connections may carry one upload")
    checkpoint_bytes: int = key("64MiB", size(1, TIB), "an upload's file is synced to the disk after so many bytes")
    checkpoint_seconds: float = key("5", duration(0.1, 3600), "and after so much time")

    ping_interval: float = key("20", duration(0.1, 3600), "an idle WebSocket is pinged this often")
    dead_after: float = key("60", duration(0.2, DAY), "a connection without any byte for so long is closed")
    hello_timeout: float = key("10", duration(0.1, 3600), "time for the first message of a WebSocket")

    connections_per_client: int = key("256", whole(1, 10**6), "connections of one client's address to one worker")
    max_strangers: int = key("1000", whole(1, 10**6), "connections to one worker that have shown no ticket yet")
    minimum_rate: int = key("500", size(0, MIB), "bytes a second that must come of what is being sent; 0 for none")
    max_header: int = key("16KiB", size(KIB, MIB), "largest header of a request")
    max_tickets: int = key("100000", whole(0, 10**9), "unfinished uploads of one backend's address; 0 for no limit")

    max_size: int = key("0", size(0, 2**53 - 1), "largest file that is accepted; 0 for no limit")
    storage_quota: int = key("0", size(0, 2**53 - 1), "bytes that all unfinished uploads may take; 0 for no limit")
    idle_timeout: float = key("12h", duration(1, 3650 * DAY), "an upload nobody sends to for so long is cancelled")
    paused_timeout: float = key("7d", duration(1, 3650 * DAY), "the same for one that was paused")
    tombstone_time: float = key("7d", duration(1, 3650 * DAY), "how long the outcome of an upload is remembered")
    failed_grace: float = key("24h", duration(0, 3650 * DAY), "how long the file of a failed handover is kept")

    handover_timeout: float = key("55", duration(0.1, 3600), "time for the app to answer a callback")
    handover_retry_time: float = key("24h", duration(0, 365 * DAY), "how long an unreachable app is tried again")
    handover_refusal_time: float = key(
        "10min", duration(0, 365 * DAY), "how long an answer that may not be the app's own is asked for again"
    )
    handover_wait_timeout: float = key("24h", duration(0, 3650 * DAY), "time from 'wait' to finish_upload; 0: no limit")
    handover_max_backoff: float = key("60", duration(0.1, DAY), "longest pause between two tries")
    handover_connections: int = key("8", whole(1, 1000), "callbacks at the same time per host of an app")
    callback_hosts: tuple[str, ...] = key(
        "", hosts(), "hosts that callbacks may go to, each with or without a port; empty: any"
    )
    callback_networks: tuple[Network, ...] = key("", networks(), "networks that callbacks may go to; empty: any")
    callback_ca_file: str = key(
        "", certificates(), "PEM file of authorities whose certificates apps may show, besides the system's"
    )
    finish_requires_secret: bool = key(
        "false", flag(), "want the secret on finish_upload and cancel_upload also from apps that use signalFinishSecret"
    )

    drain_timeout: float = key("30", duration(0, 3600), "time for everything to end after SIGTERM")
    low_space: int = key("256MiB", size(0, 1024 * TIB), "free space below which no new upload is taken")
    file_mode: int = key("0640", mode(0o600), "permissions of uploaded files")
    dir_mode: int = key("0750", mode(0o700), "permissions of the directories made for them")

    backend_networks: tuple[Network, ...] = key(
        "127.0.0.0/8,::1/128", networks(), "who may call the backend functions and see the server's health"
    )
    backend_token: str = key("", token(), "if set, backend functions also want 'Authorization: Bearer <token>'")
    trusted_proxies: tuple[Network, ...] = key("", networks(), "proxies whose X-Forwarded-For is believed")
    public_url: str = key(
        "", base_url(), "where clients reach the server, for absolute Location headers; empty: relative"
    )
    allowed_origins: tuple[str, ...] = key("", origins(), "web origins whose pages may upload; empty for any")


KEYS: Mapping[str, Mapping[str, Any]] = {entry.name: entry.metadata for entry in fields(Settings)}


def load_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings from all sources. Raises ConfigError; SystemExit(0) after --help and --version."""
    told = vars(option_parser(KEYS).parse_args(arguments))
    file_name = told.pop("config") or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    values: dict[str, Any] = {}
    if file_name:
        for name, text in _read_file(Path(file_name)).items():
            _known(name, f"{file_name}: key")
            values[name] = _value(name, text, f"{file_name}: {name}")
    for name, text in _from_environment(environment):
        if not _is_empty(name, text):
            values[name] = _value(name, text, ENVIRONMENT_PREFIX + name.upper())
    for name, text in told.items():
        if text is not None:
            value = _value(name, text, option(name))
            _check_not_opened(name, value, values.get(name))
            values[name] = value
    settings = Settings(**values)
    _check_together(settings)
    return replace(settings, storage_dir=settings.storage_dir.absolute())


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that `load_settings` ignores because they are empty.

    An empty variable is what an unset variable becomes in a container's or a unit's description. It must not remove a
    token or a list of networks that the file sets.
    """
    return [ENVIRONMENT_PREFIX + name.upper() for name, text in _from_environment(environment) if _is_empty(name, text)]


def _is_empty(name: str, text: str) -> bool:
    """Return whether a value holds nothing: no text, or a list without an item."""
    return not text.replace(",", " " if KEYS[name]["form"].is_list else ",").strip()


def _check_not_opened(name: str, value: object, before: object) -> None:
    """Raise ConfigError if an empty option would lift a restriction that the environment or the file sets."""
    if value in ("", ()) and before and KEYS[name]["default"] == "":
        raise ConfigError(f"{option(name)} is empty, but the environment or the file sets {name}; remove one of them")


def _value(name: str, text: object, where: str) -> Any:
    form: ValueType[Any] = KEYS[name]["form"]
    if isinstance(text, list) and form.is_list and all(isinstance(item, str) for item in text):
        text = ",".join(text)
    shown = "its value" if form.is_secret else repr(text)
    try:
        if not isinstance(text, str):
            raise ValueError("not a single value")
        return form.parse(text.strip())
    except ValueError as error:
        detail = f" ({error})" if form.is_list else ""
        raise ConfigError(f"{where}: {shown} is not {form.wanted}{detail}") from error


def _known(name: str, where: str) -> str:
    if name in KEYS:
        return name
    close = difflib.get_close_matches(name, KEYS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"{where} {name!r} is unknown{hint}")


def _check_together(settings: Settings) -> None:
    """What each key alone cannot see."""
    for low, high in (
        ("chunk_min", "chunk_max"),
        ("chunk_max", "window"),
        ("ping_interval", "dead_after"),
        ("idle_timeout", "paused_timeout"),
    ):
        lower, upper = getattr(settings, low), getattr(settings, high)
        if lower > upper:
            raise ConfigError(f"{low} ({lower}) is above {high} ({upper})")


# --- sources ----------------------------------------------------------------------------------------------------------


class _TextLoader(yaml.BaseLoader):
    """YAML in which every scalar stays text (0640 is a mode, not 416) and no key may come twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key comes twice", node.start_mark)
        return mapping


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _TextLoader)  # noqa: S506 - BaseLoader makes text only
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: expected 'key: value' lines")
    return content


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable, text in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != ENVIRONMENT_PREFIX + "CONFIG":
            yield (
                _known(variable.removeprefix(ENVIRONMENT_PREFIX).lower(), f"environment variable {variable}: key"),
                text,
            )


__all__ = ["KEYS", "ConfigError", "Network", "Settings", "ignored_variables", "load_settings"]
