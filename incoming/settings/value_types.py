"""Parse option values: sizes, durations, networks, origins, modes.

Every source of configuration (YAML, environment, command line) yields text, so a value has one syntax everywhere.
Decides what is well-formed and within limits; does not know which options exist.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from incoming.platform.host import usable_cores

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")
N = TypeVar("N", int, float)

_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,9})?)"
_SIZE = re.compile(rf"{_NUMBER}(?: ?([kmgt]i?b|b))?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"{_NUMBER}(?: ?(ms|s|min|m|h|d))?", re.ASCII)
_SIZE_UNITS = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_SECONDS: dict[str, Decimal | int] = {"ms": Decimal("0.001"), "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_URL_HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_HOST_OR_BARE = re.compile(rf"{_URL_HOST.pattern}|([0-9a-f]*(:[0-9a-f]*){{2,7}})(:[0-9]{{1,5}})?", re.ASCII)
_ORIGIN = re.compile(rf"https?://{_URL_HOST.pattern}", re.ASCII)
_BASE_URL = re.compile(rf"{_ORIGIN.pattern}(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?", re.ASCII | re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*", re.ASCII)
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}", re.ASCII)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True)
class ValueType(Generic[T]):
    """One kind of value: `parse` turns text into it and raises ValueError; `wanted` says what is allowed."""

    metavar: str
    wanted: str
    parse: Callable[[str], T]
    is_list: bool = False
    is_mapping: bool = False
    is_flag: bool = False
    is_secret: bool = False


def whole(low: int, high: int) -> ValueType[int]:
    """Return the type of integers from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
            raise ValueError("not an integer")
        return _within(int(text), low, high)

    return ValueType("N", f"an integer from {low} to {high}", parse)


def size(low: int, high: int) -> ValueType[int]:
    """Return the type of sizes in bytes, plain or with a unit of 1000 (kB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB)."""
    return ValueType(
        "SIZE",
        f"a size from {size_text(low)} to {size_text(high)}, such as 8388608 or 8MiB",
        lambda text: _within(parse_size(text), low, high),
    )


def parse_size(text: str) -> int:
    """Return the bytes of "8388608", "8MiB" or "1.5 GB". Raises ValueError for anything else and for fractions of a
    byte.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size")
    number = Decimal(match[1]) * _SIZE_UNITS[(match[2] or "b").lower()]
    if number != number.to_integral_value():
        raise ValueError("not a whole number of bytes")
    return int(number)


def size_text(size_in_bytes: int) -> str:
    """Return the shortest exact spelling in binary units: 8MiB for 8388608."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size_in_bytes and size_in_bytes % 1024**power == 0:
            return f"{size_in_bytes // 1024**power}{unit}"
    return str(size_in_bytes)


def duration(low: float, high: float) -> ValueType[float]:
    """Return the type of durations in seconds, plain or with a unit: ms, s, min (or m), h, d."""

    def parse(text: str) -> float:
        match = _DURATION.fullmatch(text)
        if match is None:
            raise ValueError("not a duration")
        return _within(float(Decimal(match[1]) * _SECONDS[match[2] or "s"]), low, high)

    return ValueType(
        "TIME",
        f"a duration from {duration_text(low)} to {duration_text(high)}, such as 90 (seconds), 20s or 12h",
        parse,
    )


def duration_text(seconds: float) -> str:
    """Return the shortest exact spelling: 12h for 43200."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.12g}s" if seconds else "0"


def choice(*allowed: str) -> ValueType[str]:
    """Return the type that accepts these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("not one of them")
        return text

    return ValueType("|".join(allowed), "one of " + ", ".join(allowed), parse)


def flag() -> ValueType[bool]:
    """Return the type of yes or no, in the spellings of `truth`."""
    return ValueType("true|false", "true or false", truth, is_flag=True)


def truth(text: str) -> bool:
    """Return the value of true/false, yes/no, on/off, 1/0, t/f in any case. Raises ValueError for anything else."""
    word = text.lower()
    if word in ("true", "yes", "on", "1", "t"):
        return True
    if word in ("false", "no", "off", "0", "f"):
        return False
    raise ValueError("neither true nor false")


def mode(needed: int) -> ValueType[int]:
    """POSIX permission bits in octal; the owner's `needed` bits must be there and others must not write."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"0?[0-7]{3}", text, re.ASCII):
            raise ValueError("not three octal digits")
        bits = int(text, 8)
        if bits & needed != needed or bits & 0o002:
            raise ValueError("the owner needs access and others must not write")
        return bits

    return ValueType(
        "MODE",
        f"an octal mode such as {needed | needed >> 3 & 0o055:04o} with {needed:04o} set and 0002 not set",
        parse,
    )


def host() -> ValueType[str]:
    """Return the type of an IP address or a host name to listen on."""

    def parse(text: str) -> str:
        if not _HOST.fullmatch(text):
            raise ValueError("not an address")
        return text

    return ValueType("ADDRESS", "an IP address or a host name, such as 0.0.0.0, :: or localhost", parse)


def instance() -> ValueType[str]:
    """Return the type of the name of an instance, or none."""

    def parse(text: str) -> str:
        if text and not _INSTANCE.fullmatch(text):
            raise ValueError("not a name")
        return text

    return ValueType("NAME", "a name of letters, digits, '.', '_' and '-', at most 63", parse)


def hosts() -> ValueType[tuple[str, ...]]:
    """Host names or addresses as in a URL, each with or without a port; lower case, IPv6 without [ ]."""

    def parse(text: str) -> tuple[str, ...]:
        return tuple(item.replace("[", "").replace("]", "") for item in _hosts(text, _HOST_OR_BARE))

    return ValueType("HOSTS", "a list of hosts, such as app.example.org,10.0.0.7:8080", parse, is_list=True)


def url_hosts() -> ValueType[tuple[str, ...]]:
    """Return the type of hosts as they appear in a URL: IPv6 addresses with [ ]."""
    return ValueType(
        "HOSTS",
        "a list of hosts, such as u1.example.org,u2.example.org:4000",
        lambda text: _hosts(text, _URL_HOST),
        is_list=True,
    )


def _hosts(text: str, form: re.Pattern[str]) -> tuple[str, ...]:
    found = tuple(item.lower() for item in split_list(text))
    for item in found:
        if not form.fullmatch(item):
            raise ValueError(f"{item!r} is not a host")
    return found


def path() -> ValueType[Path]:
    """Return the type of a path; a relative one starts at the current directory."""

    def parse(text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError("empty")
        return Path(text).expanduser()

    return ValueType("PATH", "a path", parse)


def certificates() -> ValueType[str]:
    """Return the type of a readable file with certificates in PEM, or none."""

    def parse(text: str) -> str:
        if text:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=text)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise ValueError("no certificates") from error
        return text

    return ValueType("FILE", "a readable file with certificates in PEM, or empty", parse)


def worker_count() -> ValueType[int]:
    """Return the type of a number of processes; `auto` is one per usable core, at most 4."""
    number = whole(1, 64)

    def parse(text: str) -> int:
        return min(usable_cores(), 4) if text == "auto" else number.parse(text)

    return ValueType("auto|N", "auto (one per core, at most 4) or an integer from 1 to 64", parse)


def networks() -> ValueType[tuple[Network, ...]]:
    """Return the type of networks in CIDR notation or single addresses; IPv4-mapped IPv6 ones become IPv4."""
    return ValueType(
        "NETWORKS",
        "a list of networks, such as 10.0.0.0/8,::1",
        lambda text: tuple(_network(item) for item in split_list(text)),
        is_list=True,
    )


def origins() -> ValueType[tuple[str, ...]]:
    """Web origins (RFC 6454): scheme, host and, if it is not the default, port."""
    return ValueType(
        "ORIGINS",
        "a list of origins, such as https://app.example.org,http://localhost:8080",
        parse_origins,
        is_list=True,
    )


def parse_origins(text: str) -> tuple[str, ...]:
    """Return the origins of a comma-separated list as browsers spell them: in lower case, without the scheme's default
    port.

    Raises ValueError for one with a path or with another scheme.
    """
    found = tuple(item.lower() for item in split_list(text))
    for origin in found:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin")
    return tuple(origin.removesuffix(":443" if origin.startswith("https") else ":80") for origin in found)


def base_url() -> ValueType[str]:
    """Return the type of an http(s) URL that paths are appended to, without user, query and final slash; or none."""

    def parse(text: str) -> str:
        if text and not _BASE_URL.fullmatch(text):
            raise ValueError("not a URL")
        return text.rstrip("/")

    return ValueType("URL", "a URL without query, such as https://uploads.example.org or https://example.org/up", parse)


def token() -> ValueType[str]:
    """Return the type of a Bearer token (RFC 6750 section 2.1) of at least 16 characters, or none."""

    def parse(text: str) -> str:
        if text and not _TOKEN.fullmatch(text):
            raise ValueError("not a token")
        return text

    return ValueType("TOKEN", "empty, or 16 to 512 of A-Z a-z 0-9 . _ ~ + / -", parse, is_secret=True)


def database_url() -> ValueType[str]:
    """Return the type of the URL of a PostgreSQL database, or none."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        if text and (parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/")):
            raise ValueError("not the URL of a database")
        return text

    return ValueType("URL", "empty, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE", parse, is_secret=True)


def names() -> ValueType[tuple[str, ...]]:
    """Return the type of a comma-separated list of names."""
    return ValueType("NAMES", "a list of names", lambda text: tuple(split_list(text)), is_list=True)


def split_list(text: str) -> Sequence[str]:
    """Return the items of a comma-separated list, stripped; an empty text has none."""
    return [item.strip() for item in text.split(",") if item.strip()]


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _within(number: N, low: float, high: float) -> N:
    if not low <= number <= high:
        raise ValueError(f"outside {low} to {high}")
    return number
