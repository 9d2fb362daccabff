"""The server's configuration: one frozen Settings from a YAML file, the environment and the command line.

This file decides which keys there are, their defaults and limits, and which source wins: command line over environment
over file. A key `some_key` of the file is INCOMING_SOME_KEY in the environment and --some-key on the command line.
Unknown keys and malformed values are refused with one line; an empty variable counts as not set. Does not know what a
setting does.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from incoming.settings.command_line import ConfigError, option, option_parser
from incoming.settings.object_stores import FILE, ObjectStore, object_stores
from incoming.settings.value_types import (
    Network,
    ValueType,
    base_url,
    certificates,
    choice,
    database_url,
    duration,
    flag,
    host,
    hosts,
    instance,
    mode,
    names,
    networks,
    origins,
    path,
    size,
    token,
    url_hosts,
    whole,
    worker_count,
)

ENVIRONMENT_PREFIX = "INCOMING_"
KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4
DAY = 86400.0


def key(default: str, form: ValueType[Any], about: str) -> Any:
    """Return a field of Settings; `default` is text as an operator would write it."""
    metadata = {"default": default, "form": form, "about": about}
    return field(default=form.parse(default), repr=not form.is_secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. Sizes in bytes, times in seconds; 0, where allowed, means no limit."""

    address: str = key("0.0.0.0", host(), "listening address")  # noqa: S104 - a server for browsers
    port: int = key("4000", whole(0, 65535), "listening port; 0 selects a free one")
    storage_dir: Path = key("./incoming-data", path(), "directory for uploads and the database; created if missing")  # noqa: RUF009
    database: str = key("", database_url(), "PostgreSQL database for the tickets; empty for SQLite in storage_dir")
    database_direct: str = key("", database_url(), "the same without the transaction pooler that 'database' names")
    instance: str = key("", instance(), "name of this instance among those of one database; empty for the host name")
    workers: int = key("auto", worker_count(), "processes that share the port and the storage")
    log_level: str = key("info", choice("debug", "info", "warning", "error"), "lowest level to log")
    log_format: str = key("text", choice("text", "json"), "format of a record: one line of text or one JSON object")

    object_stores: tuple[ObjectStore, ...] = key("", object_stores(), "object stores by name: what destType may be")
    dest_types: tuple[str, ...] = key("", names(), "destTypes that apps may ask for, the default first; empty for all")
    spool_size: int = key("1GiB", size(MIB, TIB), "most bytes of incomplete parts in storage_dir, per worker")
    park_after: float = key(
        "60", duration(0.1, 3600), "time after which bytes of an incomplete part are stored all the same"
    )

    durability: str = key(
        "process",
        choice("process", "power"),
        "what an acknowledged byte survives: the death of every process, or also a power cut",
    )
    chunk_min: int = key("64KiB", size(1, 64 * MIB), "smallest chunk that clients are asked to send")
    chunk_max: int = key("8MiB", size(1, 64 * MIB), "largest chunk that is accepted over a WebSocket")
    window: int = key("64MiB", size(1, 4 * GIB), "most bytes sent but not acknowledged, per upload")
    memory: int = key("256MiB", size(MIB, TIB), "most received bytes that wait for the disk, per worker")
    connections_per_upload: int = key("16", whole(1, 256), "connections per upload")
    checkpoint_bytes: int = key("64MiB", size(1, TIB), "sync an upload's file after this many bytes")
    checkpoint_seconds: float = key("5", duration(0.1, 3600), "or after this time")

    ping_interval: float = key("20", duration(0.1, 3600), "ping interval of an idle WebSocket")
    dead_after: float = key("60", duration(0.2, DAY), "time without a byte after which a connection is closed")
    hello_timeout: float = key("10", duration(0.1, 3600), "time for the first message of a WebSocket")

    connections_per_client: int = key("256", whole(1, 10**6), "connections per client address and worker")
    max_strangers: int = key("1000", whole(1, 10**6), "connections per worker that have not shown a ticket")
    minimum_rate: int = key("500", size(0, MIB), "minimum rate of a chunk or body in bytes a second; 0 for none")
    max_header: int = key("16KiB", size(KIB, MIB), "largest request header")
    max_tickets: int = key("100000", whole(0, 10**9), "unfinished uploads per backend address; 0 for no limit")

    max_size: int = key("0", size(0, 2**53 - 1), "largest file that is accepted; 0 for no limit")
    storage_quota: int = key("0", size(0, 2**53 - 1), "most bytes of all unfinished uploads; 0 for no limit")
    limit_counting: str = key(
        "exact",
        choice("exact", "sharded"),
        "how PostgreSQL counts for max_tickets and storage_quota: one after the other, or faster and sometimes late",
    )
    idle_timeout: float = key(
        "12h", duration(1, 3650 * DAY), "time without activity after which an upload is cancelled"
    )
    paused_timeout: float = key("7d", duration(1, 3650 * DAY), "the same for a paused upload")
    tombstone_time: float = key("7d", duration(1, 3650 * DAY), "how long the outcome of an upload is kept")
    failed_grace: float = key("24h", duration(0, 3650 * DAY), "how long the file of a failed handover is kept")

    handover_timeout: float = key("55", duration(0.1, 3600), "time for the app to answer a callback")
    handover_retry_time: float = key(
        "24h", duration(0, 365 * DAY), "how long callbacks to an unreachable app are retried"
    )
    handover_refusal_time: float = key(
        "10min", duration(0, 365 * DAY), "how long a callback is retried after an answer that may not be the app's own"
    )
    handover_wait_timeout: float = key(
        "24h", duration(0, 3650 * DAY), "time from 'wait' to finish_upload; 0 for no limit"
    )
    handover_max_backoff: float = key("60", duration(0.1, DAY), "longest pause between two attempts")
    handover_connections: int = key("8", whole(1, 1000), "concurrent callbacks per app host")
    callback_hosts: tuple[str, ...] = key(
        "", hosts(), "allowed hosts for callbacks, each with or without a port; empty for any"
    )
    callback_networks: tuple[Network, ...] = key("", networks(), "allowed networks for callbacks; empty for any")
    callback_ca_file: str = key(
        "", certificates(), "PEM file of authorities for apps' certificates, besides the system's"
    )
    finish_requires_secret: bool = key(
        "false", flag(), "require the secret in finish_upload and cancel_upload also with signalFinishSecret"
    )

    drain_timeout: float = key("30", duration(0, 3600), "time for a graceful shutdown after SIGTERM")
    low_space: int = key("256MiB", size(0, 1024 * TIB), "free space below which no ticket is issued")
    file_mode: int = key("0640", mode(0o600), "permissions of uploaded files")
    dir_mode: int = key("0750", mode(0o700), "permissions of the directories created for them")

    backend_networks: tuple[Network, ...] = key(
        "127.0.0.0/8,::1/128",
        networks(),
        "networks that may call the backend functions and see health, metrics and status",
    )
    backend_token: str = key("", token(), "if set, backend functions also require 'Authorization: Bearer <token>'")
    trusted_proxies: tuple[Network, ...] = key("", networks(), "proxies whose X-Forwarded-For is trusted")
    public_url: str = key(
        "", base_url(), "where clients reach the server, for absolute Location headers; empty: relative"
    )
    frontend_hosts: tuple[str, ...] = key(
        "", url_hosts(), "further names of this server, for more connections of pages over HTTP"
    )
    interim_answers: str = key(
        "auto",
        choice("auto", "true", "false"),
        "send 104 to resumable uploads: where no proxy is seen, always or never; true only if every proxy passes it",
    )
    max_append_size: int = key(
        "0",
        size(0, 2**53 - 1),
        "largest body that resumable uploads are told to send, for proxies with a limit; 0 for none",
    )
    allowed_origins: tuple[str, ...] = key("", origins(), "web origins whose pages may upload; empty for any")


KEYS: Mapping[str, Mapping[str, Any]] = {entry.name: entry.metadata for entry in fields(Settings)}


def load_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings from all sources. Raises ConfigError; SystemExit(0) after --help and --version."""
    given = vars(option_parser(KEYS).parse_args(arguments))
    file_name = given.pop("config") or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    values: dict[str, Any] = {}
    if file_name:
        for name, text in _read_file(Path(file_name)).items():
            _known(name, f"{file_name}: key")
            values[name] = _value(name, text, f"{file_name}: {name}")
    for name, text in _from_environment(environment):
        if not _is_empty(name, text):
            values[name] = _value(name, text, ENVIRONMENT_PREFIX + name.upper())
    for name, text in given.items():
        if text is not None:
            value = _value(name, text, option(name))
            _check_not_opened(name, value, values.get(name))
            values[name] = value
    settings = Settings(**values)
    _check_together(settings)
    return replace(settings, storage_dir=settings.storage_dir.absolute())


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that `load_settings` ignores because they are empty.

    An unset variable becomes an empty one in the description of a container or a unit. It must not remove a token or a
    list of networks that the file sets.
    """
    return [ENVIRONMENT_PREFIX + name.upper() for name, text in _from_environment(environment) if _is_empty(name, text)]


def _is_empty(name: str, text: str) -> bool:
    """Return whether a value is empty: no text, or a list without an item."""
    return not text.replace(",", " " if KEYS[name]["form"].is_list else ",").strip()


def _check_not_opened(name: str, value: object, before: object) -> None:
    """Raise ConfigError if an empty option would lift a restriction that the environment or the file sets."""
    if value in ("", ()) and before and KEYS[name]["default"] == "":
        raise ConfigError(f"{option(name)} is empty, but the environment or the file sets {name}; remove one of them")


def _value(name: str, text: object, where: str) -> Any:
    form: ValueType[Any] = KEYS[name]["form"]
    if isinstance(text, list) and form.is_list and all(isinstance(item, str) for item in text):
        text = ",".join(text)
    if isinstance(text, dict) and form.is_mapping:
        text = json.dumps(text)
    shown = "its value" if form.is_secret or form.is_mapping else repr(text)
    try:
        if not isinstance(text, str):
            raise ValueError("not a single value")
        return form.parse(text.strip())
    except ValueError as error:
        detail = f" ({error})" if form.is_list or form.is_mapping else ""
        raise ConfigError(f"{where}: {shown} is not {form.wanted}{detail}") from error


def _known(name: str, where: str) -> str:
    if name in KEYS:
        return name
    close = difflib.get_close_matches(name, KEYS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"{where} {name!r} is unknown{hint}")


def _check_together(settings: Settings) -> None:
    """Check the limits that concern two keys."""
    for low, high in (
        ("chunk_min", "chunk_max"),
        ("chunk_max", "window"),
        ("ping_interval", "dead_after"),
        ("idle_timeout", "paused_timeout"),
    ):
        lower, upper = getattr(settings, low), getattr(settings, high)
        if lower > upper:
            raise ConfigError(f"{low} ({lower}) is above {high} ({upper})")
    known = [FILE, *(store.name for store in settings.object_stores)]
    for name in settings.dest_types:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"dest_types: {name!r} is neither {FILE!r} nor a name in object_stores{hint}")


# --- sources ----------------------------------------------------------------------------------------------------------


class _TextLoader(yaml.BaseLoader):
    """YAML in which every scalar stays text (0640 is a mode, not 416) and a duplicate key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "duplicate key", node.start_mark)
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
