"""Fixtures: the real server behind a real proxy with TLS, and a real browser that trusts it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page

from tests.support.incoming_server import IncomingServer
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SCRIPT, UploadPage
from tests.system.proxies.authority import Certificate, make_certificate
from tests.system.proxies.real_proxy import Apache, Caddy, Edit, HAProxy, Nginx, RealProxy

PROXIES = {
    "nginx": (Nginx, "nginx.conf", ""),
    "nginx-central": (Nginx, "nginx-central.conf", ""),
    "nginx-prefix": (Nginx, "nginx-prefix.conf", "/files"),
    "haproxy": (HAProxy, "haproxy.cfg", ""),
    "haproxy-prefix": (HAProxy, "haproxy.cfg", "/files"),
    "caddy": (Caddy, "Caddyfile", ""),
    "apache": (Apache, "apache.conf", ""),
}

StartRealProxy = Callable[..., RealProxy]
OpenPage = Callable[..., UploadPage]


@pytest.fixture
def app(server: IncomingServer) -> Iterator[UploadApp]:
    with UploadApp(server.base_url) as app:
        yield app
        app.release()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path / "certificate")


@pytest.fixture
def start_real_proxy(
    tmp_path: Path, certificate: Certificate, server: IncomingServer, app: UploadApp
) -> Iterator[StartRealProxy]:
    """Return a function that starts the proxy of that name in PROXIES; with `blocked=True` it rejects upgrades."""
    started: list[RealProxy] = []

    def start(name: str, *edits: Edit, blocked: bool = False) -> RealProxy:
        kind, shipped, prefix = PROXIES[name]
        proxy = kind(shipped, tmp_path / "proxy", certificate, prefix)
        started.append(proxy)
        proxy.start(server.port, app.port, *edits, *(proxy.blocked if blocked else ()))
        return proxy

    yield start
    for proxy in started:
        proxy.stop()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Its trust in the test's own authority is Playwright's switch: Chromium reads authorities from the user's home."""
    context = chromium.new_context(ignore_https_errors=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def open_page(page: Page, app: UploadApp) -> OpenPage:
    """Function that opens the recording page, with everything of the upload server through that proxy.

    The page is of another origin, that of the application; unless `same_origin=True`, then it comes by the proxy, too.
    """

    def open_through(proxy: RealProxy, *, same_origin: bool = False) -> UploadPage:
        upload_page = UploadPage(page, app, proxy.origin)
        if same_origin:
            page.goto(proxy.origin + "/?" + urlencode({"script": SCRIPT}))
            return upload_page
        page.goto(app.page_url + "?" + urlencode({"script": proxy.origin + proxy.prefix + SCRIPT}))
        page.evaluate("(host) => incoming.set_server_hostname(host)", proxy.origin + proxy.prefix)
        return upload_page

    return open_through
