"""`incoming check config`: whether the configuration can be used, what it sets, and what in it is dangerous.

Decides what is dangerous. Which values are acceptable is decided in incoming.settings. Opens no port and
changes nothing.
"""

from __future__ import annotations

import ipaddress
import os
import resource
from collections.abc import Iterator, Mapping, Sequence

from incoming.cli.checks.findings import Findings
from incoming.settings.settings import KEYS, ConfigError, Settings, ignored_variables, load_settings

ENOUGH_DESCRIPTORS = 4096


def check_config(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Findings, Settings | None]:
    """Return what was found, and the settings if they can be used."""
    found = Findings("configuration")
    try:
        settings = load_settings(arguments, environment)
    except ConfigError as error:
        found.fault(str(error), "see doc/configuration.md")
        return found, None
    found.good("every key is known and has an acceptable value")
    for line in changed_settings(settings):
        found.note(line)
    for variable in ignored_variables(environment):
        found.fault(f"{variable} is empty and ignored", "give it a value, or do not set it")
    _check_access(settings, found)
    _check_descriptors(found)
    return found, settings


def changed_settings(settings: Settings) -> Iterator[str]:
    """Yield `key = value` for every setting that is not the default. Secrets are not shown."""
    for name, entry in KEYS.items():
        value = getattr(settings, name)
        if value == entry["form"].parse(entry["default"]) or name == "storage_dir":
            continue
        if entry["form"].is_secret:
            yield f"{name} is set"
        else:
            yield f"{name} = {_shown(name, value)}"
    yield f"storage_dir = {settings.storage_dir}"


def _shown(name: str, value: object) -> str:
    if name.endswith("_mode"):
        return f"{value:04o}"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list | frozenset) else str(value)


def _check_access(settings: Settings, found: Findings) -> None:
    """Find backend functions that the internet may call."""
    wide = [str(network) for network in settings.backend_networks if network.is_global]
    is_local = _is_loopback(settings.address)
    if wide and not settings.backend_token and not is_local:
        found.fault(
            f"anybody in {', '.join(wide)} may call the backend functions, without a token",
            "narrow backend_networks, or set backend_token",
        )
    else:
        who = ", ".join(map(str, settings.backend_networks)) or "nobody"
        found.good(f"the backend functions are for {who}{' with the token' if settings.backend_token else ''}")
    if settings.trusted_proxies:
        found.note(f"X-Forwarded-For is believed from {', '.join(map(str, settings.trusted_proxies))} alone")
    elif is_local:
        found.note("the server listens at the loopback address; behind a proxy, trusted_proxies names the proxy")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _check_descriptors(found: Findings) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < ENOUGH_DESCRIPTORS:
        found.fault(
            f"each process of this user ({os.getuid()}) may have {hard} open files and connections",
            f"allow {ENOUGH_DESCRIPTORS} or more: LimitNOFILE in the unit, --ulimit nofile for a container",
        )
    else:
        found.good(f"each process may have {hard if hard >= 0 else 'any number of'} open files and connections")
