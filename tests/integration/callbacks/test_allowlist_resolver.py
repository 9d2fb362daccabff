"""The operator's lists of hosts and networks, and the ways around them that do not work."""

import socket
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from incoming.callbacks.allowlist_resolver import AllowlistResolver, CallbackForbidden
from incoming.callbacks.answer import Answer, Verdict
from incoming.callbacks.client import CallbackClient
from incoming.callbacks.name_lookup import NameLookup
from incoming.settings import value_types
from incoming.settings.settings import Settings
from tests.integration.callbacks.test_client import ARRIVED, ticket_for
from tests.support.app_stub import Answer as Says
from tests.support.app_stub import AppStub

LOOPBACK = value_types.networks().parse("127.0.0.0/8,::1")
INSIDE = value_types.networks().parse("10.0.0.0/8")

SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "user:pass@127.0.0.1",
    "allowed.example@127.0.0.1",
    "localhost#@127.0.0.1",
    "0",
]


async def post(url: str, lookup: NameLookup | None = None, **settings: object) -> Answer:
    caller = CallbackClient(Settings(**settings), lookup=lookup)  # type: ignore[arg-type]
    try:
        return replace(await caller.post(ticket_for(url), ARRIVED), advice=None)
    finally:
        caller.close()


@pytest.mark.parametrize("host", SPELLINGS)
async def test_every_spelling_of_an_address_outside_the_networks_is_refused(app_stub: AppStub, host: str) -> None:
    answer = await post(f"http://{host}:{app_stub.port}/", callback_networks=INSIDE)
    assert answer.verdict == Verdict.UNCLEAR
    assert app_stub.callbacks == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1"])
async def test_addresses_inside_the_networks_are_called(app_stub: AppStub, host: str) -> None:
    assert await post(f"http://{host}:{app_stub.port}/", callback_networks=LOOPBACK) == Answer(Verdict.DONE)


async def test_a_mapped_address_that_the_metadata_service_has_is_refused() -> None:
    answer = await post("http://[::ffff:169.254.169.254]/latest/meta-data", callback_networks=LOOPBACK)
    assert answer == Answer(
        Verdict.UNCLEAR, "the application's address is not in the networks that this server may call"
    )


async def test_without_lists_every_address_is_called(app_stub: AppStub) -> None:
    assert await post(app_stub.url) == Answer(Verdict.DONE)


@pytest.mark.parametrize("hosts", ["127.0.0.1", "other.example,127.0.0.1"])
async def test_a_listed_host_is_called(app_stub: AppStub, hosts: str) -> None:
    assert await post(app_stub.url, callback_hosts=value_types.hosts().parse(hosts)) == Answer(Verdict.DONE)


async def test_a_host_listed_with_a_port_is_called_on_that_port_only(app_stub: AppStub) -> None:
    listed = value_types.hosts().parse(f"127.0.0.1:{app_stub.port}")
    assert await post(app_stub.url, callback_hosts=listed) == Answer(Verdict.DONE)
    assert (await post(f"http://127.0.0.1:{app_stub.port + 1}/", callback_hosts=listed)).verdict == Verdict.UNCLEAR


@pytest.mark.parametrize("host", [host for host in SPELLINGS if not host.lower().startswith("localhost")])
async def test_an_address_does_not_pass_for_a_listed_name(app_stub: AppStub, host: str) -> None:
    hosts = value_types.hosts().parse("localhost,allowed.example")
    answer = await post(f"http://{host}:{app_stub.port}/", callback_hosts=hosts)
    assert answer.verdict == Verdict.UNCLEAR
    assert app_stub.callbacks == []


async def test_both_lists_must_agree(app_stub: AppStub) -> None:
    hosts = value_types.hosts().parse("localhost")
    url = f"http://localhost:{app_stub.port}/"
    assert (await post(url, callback_hosts=hosts, callback_networks=INSIDE)).verdict == Verdict.UNCLEAR
    assert (await post(url, callback_hosts=hosts, callback_networks=LOOPBACK)).verdict == Verdict.DONE


async def test_a_redirect_does_not_lead_inside(app_stub: AppStub) -> None:
    with AppStub() as inside:
        app_stub.default = Says(302, "", {"Location": inside.url})
        listed = value_types.hosts().parse(f"127.0.0.1:{app_stub.port}")
        assert (await post(app_stub.url, callback_hosts=listed)).verdict == Verdict.UNCLEAR
        assert inside.callbacks == []


def names(*answers: list[str]) -> NameLookup:
    """Look-ups that bring each of these lists of addresses in turn, and no time passes between them but an hour."""
    left = list(answers)
    clock = count(0, 3600)

    def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    return NameLookup(getaddrinfo, lambda: next(clock))


async def test_a_name_is_listed_in_any_case_and_with_its_final_dot() -> None:
    resolver = AllowlistResolver(hosts=value_types.hosts().parse("App.Example"), lookup=names(["10.0.0.1"]))
    assert await resolver.resolve("aPP.example.", 80)


async def test_only_the_allowed_ones_of_several_addresses_are_left() -> None:
    resolver = AllowlistResolver(networks=INSIDE, lookup=names(["192.0.2.1", "10.1.2.3", "127.0.0.1"]))
    assert await resolver.resolve("app.example", 80) == [(socket.AF_INET, ("10.1.2.3", 80))]


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(app_stub: AppStub) -> None:
    looked_up = names(["127.0.0.1"], ["192.0.2.66"])  # what was checked is what is connected to: one look-up a call
    url = f"http://rebinding.example:{app_stub.port}/"
    assert (await post(url, looked_up, callback_networks=LOOPBACK)).verdict == Verdict.DONE
    assert (await post(url, looked_up, callback_networks=LOOPBACK)).verdict == Verdict.UNCLEAR
    assert len(app_stub.callbacks) == 1


async def test_forbidden_hosts_are_not_resolved() -> None:
    with pytest.raises(CallbackForbidden):
        await AllowlistResolver(hosts=["app.example"], lookup=names()).resolve("evil.example", 80)
