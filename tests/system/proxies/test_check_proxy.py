"""`incoming check proxy` against real proxies: the shipped configurations pass, and what spoils them is named."""

import re
import subprocess
import sys

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT
from tests.system.proxies.authority import Certificate
from tests.system.proxies.conftest import PROXIES, StartRealProxy
from tests.system.proxies.real_proxy import RealProxy


def check(proxy: RealProxy, server: IncomingServer, certificate: Certificate) -> tuple[int, str]:
    command = [sys.executable, "-m", "incoming", "check", "proxy", proxy.origin + proxy.prefix]
    command += ["--server", server.base_url, "--ca-file", str(certificate.authority)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", PROXIES)
def test_the_shipped_configurations_have_no_fault_but_the_certificate_of_the_test(
    name: str, start_real_proxy: StartRealProxy, server: IncomingServer, certificate: Certificate
) -> None:
    code, out = check(start_real_proxy(name), server, certificate)
    faults = re.findall(r"^FAULT  (.*)$", out, re.MULTILINE)
    assert (code, len(faults)) == (1, 1), out
    assert re.fullmatch(r"the certificate is good for [12] more days", faults[0])
    assert out.count("\nok ") >= 7


def test_what_nginx_does_by_default_is_named(
    start_real_proxy: StartRealProxy, server: IncomingServer, certificate: Certificate
) -> None:
    proxy = start_real_proxy(
        "nginx",
        (r"client_max_body_size [^;]+;", "client_max_body_size 1m;"),
        (r"proxy_request_buffering off;", "proxy_request_buffering on;"),
        blocked=True,
    )
    code, out = check(proxy, server, certificate)
    assert code == 1
    for fault, cure in (
        ("no WebSocket gets through", "Upgrade"),
        ("a body of 8 MiB does not get through: .*HTTP status 413", "client_max_body_size 0"),
        ("a body arrives only when all of it was sent", "proxy_request_buffering off"),
    ):
        assert re.search(rf"^FAULT  {fault}.*\n +change: .*{cure}", out, re.MULTILINE), out
