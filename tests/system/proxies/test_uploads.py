"""Uploads through real proxies with the configurations of conf/, over TLS, while the proxy is restarted."""

from pathlib import Path

import pytest

from tests.support.known_files import make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.proxies.conftest import PROXIES, OpenPage, StartRealProxy

MIB = 1 << 20
SIZE = 24 * MIB
RATE = 8 * MIB
"""Bytes a second: the upload is still on its way when the proxy goes."""

pytestmark = pytest.mark.promise(133)


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("name", PROXIES)
def test_an_upload_survives_a_restart_of_the_proxy(
    start_real_proxy: StartRealProxy, open_page: OpenPage, app: UploadApp, tmp_path: Path, name: str, transport: str
) -> None:
    """With upgrades blocked the upload falls back by itself."""
    proxy = start_real_proxy(name, blocked=transport == "http")
    upload_page = open_page(proxy)
    file = make_file(tmp_path / "film.mp4", SIZE)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path)
    upload.set("max_rate", RATE)
    upload.start()
    before = upload.wait_for_bytes(4 * MIB)
    proxy.restart()
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    assert before.bytes_acked < SIZE
    assert [moment for moment in upload.moments if not moment.connected and moment.bytes_acked >= before.bytes_acked]
    # A proxy that takes more than two seconds to start is tried by HTTP as well.
    assert {"", transport} <= {moment.transport for moment in upload.moments} <= {"", "http", transport}
    addresses = {address.partition("/incoming/")[0] for address in upload_page.sockets}
    assert addresses == {proxy.origin.replace("https", "wss") + proxy.prefix}
    app.assert_received(ticket, file)


@pytest.mark.parametrize("multiplexed", [True, False], ids=["HTTP/2", "HTTP/1.1"])
def test_requests_that_share_one_connection_are_named_in_the_diagnosis(
    start_real_proxy: StartRealProxy, open_page: OpenPage, app: UploadApp, tmp_path: Path, multiplexed: bool
) -> None:
    proxy = start_real_proxy("nginx" if multiplexed else "nginx-central", blocked=True)
    upload_page = open_page(proxy)
    file = make_file(tmp_path / "film.mp4", SIZE)
    upload = upload_page.upload(app.new_ticket(), file.path)
    upload.set("max_rate", RATE)
    upload.start()
    upload.wait_for_bytes(MIB)
    diagnosis = upload_page.tab.evaluate("() => uploads[0].uploader.diagnosis()")
    assert diagnosis["transport"] == "http"
    assert diagnosis["protocol"] == ("h2" if multiplexed else "http/1.1")
    assert diagnosis["multiplexed"] is multiplexed
    upload.set("max_rate", 0)
    upload.wait_until_finished()
