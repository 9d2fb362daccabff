"""The object stores that the configuration names, each with a bucket: option `object_stores`.

Decides which properties a store has, their defaults and limits, and names the one that is wrong. Connects to nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import yaml

from incoming.settings.value_types import ValueType, base_url, certificates, choice, duration, flag, size

FILE = "file"
"""The destType of files on the server's disk; no object store has this name."""

MIB = 1024 * 1024
WEEK = 7 * 86400.0

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"([A-Za-z0-9!_.'()=-]+/)+", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_KEY_TEXT = re.compile(r"[!-~]{1,512}|", re.ASCII)
_PLACES = re.compile(r"\.{1,2}")


def _matching(pattern: re.Pattern[str], wanted: str, *, is_secret: bool = False) -> ValueType[str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text) or any(_PLACES.fullmatch(part) for part in text.split("/")):
            raise ValueError("not well-formed")
        return text

    return ValueType("TEXT", wanted, parse, is_secret=is_secret)


def _regular_expression() -> ValueType[str]:
    def parse(text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(str(error)) from error
        return text

    return ValueType("PATTERN", "a regular expression that matches whole keys below the prefix", parse)


def _property(form: ValueType[Any], default: str | None = None) -> Any:
    metadata = {"form": form}
    if default is None:
        return field(metadata=metadata)
    return field(default=form.parse(default), repr=not form.is_secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """One store. Sizes in bytes, times in seconds."""

    name: str
    """The destType by which applications name it."""
    bucket: str = _property(_matching(_BUCKET, "a bucket's name: 3 to 63 of a-z 0-9 . - _"))
    endpoint: str = _property(base_url(), "")
    """Where this server reaches it; empty for AWS."""
    public_endpoint: str = _property(base_url(), "")
    """Where browsers and applications reach it with signed URLs; empty for `endpoint`."""
    region: str = _property(_matching(_REGION, "a region such as eu-central-1"), "us-east-1")
    prefix: str = _property(_matching(_PREFIX, "one or more path components that each end with a slash"), "incoming/")
    addressing: str = _property(choice("auto", "path", "virtual"), "auto")
    access_key: str = _property(_matching(_KEY_TEXT, "an access key", is_secret=True), "")
    secret_key: str = _property(_matching(_KEY_TEXT, "a secret key", is_secret=True), "")
    """Both empty: what botocore finds (environment, files, the machine's role)."""
    profile: str = _property(_matching(_KEY_TEXT, "a profile of ~/.aws/config"), "")
    ca_file: str = _property(certificates(), "")
    part_size: int = _property(size(4096, 5 * 1024 * MIB), "8MiB")
    checksum: str = _property(choice("auto", "sha256", "md5", "none"), "auto")
    """What the store checks bytes with that come through this server, beside their number; `auto` is the faster of
    `sha256` and `md5`, `none` saves CPU time.
    """
    key_pattern: str = _property(_regular_expression(), "")
    """What `destKey` may be; empty: applications name no keys."""
    url_lifetime: float = _property(duration(1, WEEK), "1h")
    """How long the signed URL of a complete object is valid that the application gets."""
    direct: bool = _property(flag(), "false")
    """Whether browsers may send parts straight to the store."""

    def __str__(self) -> str:
        return f"{self.name} (bucket {self.bucket!r} at {self.url})"

    @property
    def url(self) -> str:
        """The endpoint with AWS's own as the default."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"

    @property
    def is_path_style(self) -> bool:
        """Whether the bucket is in the path of a URL, not in its host."""
        return self.addressing == "path" or (self.addressing == "auto" and bool(self.endpoint))


_PROPERTIES: Mapping[str, ValueType[Any]] = {
    entry.name: entry.metadata["form"] for entry in fields(ObjectStore) if "form" in entry.metadata
}
_REQUIRED = [entry.name for entry in fields(ObjectStore) if "form" in entry.metadata and entry.default is MISSING]


def object_stores() -> ValueType[tuple[ObjectStore, ...]]:
    """Parse a mapping of names to properties: a mapping in the file, YAML or JSON on one line elsewhere."""
    return ValueType(
        "STORES",
        "a mapping of names to properties, such as {s3: {bucket: uploads, endpoint: https://ceph.example.org}}",
        parse_object_stores,
        is_mapping=True,
    )


def parse_object_stores(text: str) -> tuple[ObjectStore, ...]:
    """Return the stores in the order in which they are named. Raises ValueError, which names the property."""
    try:
        content = yaml.load(text, yaml.BaseLoader) if text else {}  # noqa: S506 - BaseLoader makes text only
    except yaml.YAMLError as error:
        raise ValueError("not a mapping in YAML or JSON") from error
    if not isinstance(content, dict):
        raise ValueError("not a mapping")
    return tuple(_store(name, properties) for name, properties in content.items())


def _store(name: str, properties: Any) -> ObjectStore:
    if not _NAME.fullmatch(name) or name == FILE:
        raise ValueError(f"{name!r} cannot be a store's name: up to 32 of a-z 0-9 -, not {FILE!r}")
    if not isinstance(properties, dict):
        raise ValueError(f"{name} has no properties; it needs at least a bucket")
    for missing in (required for required in _REQUIRED if required not in properties):
        raise ValueError(f"{name} has no {missing}")
    store = ObjectStore(name=name, **{key: _value(name, key, text) for key, text in properties.items()})
    if bool(store.access_key) != bool(store.secret_key):
        raise ValueError(f"{name}: access_key and secret_key need each other; leave out both for the environment's")
    return store


def _value(name: str, key: str, text: Any) -> Any:
    form = _PROPERTIES.get(key)
    if form is None:
        close = difflib.get_close_matches(key, _PROPERTIES, n=1)
        raise ValueError(f"{name}: property {key!r} is unknown" + (f"; did you mean {close[0]!r}?" if close else ""))
    shown = "its value" if form.is_secret else repr(text)
    try:
        if not isinstance(text, str):
            raise ValueError("not a single value")
        parse: Callable[[str], Any] = form.parse
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}.{key}: {shown} is not {form.wanted}") from error
