"""tus and the IETF's resumable uploads through real proxies with the configurations of conf/."""

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest
import requests

from tests.support.known_files import make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.proxies.authority import Certificate
from tests.system.proxies.conftest import PROXIES, StartRealProxy

MIB = 1 << 20
HALF = 3 * MIB
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
DRAFT = {"Upload-Draft-Interop-Version": "8"}

pytestmark = pytest.mark.promise(133)


@pytest.fixture(params=PROXIES)
def session(
    request: pytest.FixtureRequest, start_real_proxy: StartRealProxy, certificate: Certificate
) -> requests.Session:
    """A client behind a proxy; `session.headers` are the usual ones."""
    proxy = start_real_proxy(request.param)
    session = requests.Session()
    session.trust_env = False
    session.verify = str(certificate.authority)
    session.base = f"{proxy.origin}{proxy.prefix}/incoming/0.1/frontend"  # type: ignore[attr-defined]
    return session


def test_both_dialects_pass(session: requests.Session, app: UploadApp, tmp_path: Path) -> None:
    file = make_file(tmp_path / "film.mp4", 2 * HALF)
    content, base = file.path.read_bytes(), session.base  # type: ignore[attr-defined]
    ticket = app.new_ticket()
    url = f"{base}/tus/{ticket}"
    assert session.options(url, headers={"Origin": "https://app.example.org"}).headers["Tus-Version"] == "1.0.0"
    created = session.post(
        url, headers={**TUS, "Upload-Length": str(len(content)), "Upload-Metadata": "name ZmlsbS5tcDQ="}
    )
    assert (created.status_code, requests.compat.urljoin(url, created.headers["Location"])) == (201, url)
    damaged = {
        **PART,
        "Upload-Offset": "0",
        "Upload-Checksum": f"sha1 {b64encode(hashlib.sha1(b'').digest()).decode()}",
    }
    assert session.patch(url, content[:1000], headers=damaged).status_code == 460
    first = session.patch(url, content[:HALF], headers={**PART, "Upload-Offset": "0"})
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(HALF))
    override = {**TUS, "X-HTTP-Method-Override": "HEAD"}
    assert session.post(url, headers=override).headers["Upload-Offset"] == str(HALF)
    assert session.head(url, headers=TUS).headers["Upload-Offset"] == str(HALF)
    assert session.patch(url, b"x", headers={**PART, "Upload-Offset": "0"}).status_code == 409

    url = f"{base}/upload/{ticket}"
    asked = session.head(url, headers=DRAFT)
    assert (asked.status_code, asked.headers["Upload-Offset"], asked.headers["Upload-Complete"]) == (
        204,
        str(HALF),
        "?0",
    )
    last = {**DRAFT, "Content-Type": "application/partial-upload", "Upload-Offset": str(HALF), "Upload-Complete": "?1"}
    assert session.patch(url, content[HALF:], headers=last).status_code == 200
    app.assert_received(ticket, file)
    other = app.new_ticket()
    assert session.delete(f"{base}/tus/{other}", headers=TUS).status_code == 204
