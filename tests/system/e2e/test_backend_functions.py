"""A real browser on a machine that may call the backend functions: whatever a page tries, no ticket comes of it."""

import pytest
from playwright.sync_api import Page

from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until

FUNCTION = "/incoming/backend/new_upload"
FORM = "new URLSearchParams({signalFinishURL: 'http://127.0.0.1:9/'})"
SUBMITTED = """
    const form = document.createElement('form');
    form.method = 'POST'; form.action = TARGET; form.enctype = ENCTYPE;
    form.innerHTML = '<input name=signalFinishURL value="http://127.0.0.1:9/">';
    document.documentElement.append(form); form.submit();"""

ATTEMPTS = {
    "fetch": f"fetch(TARGET, {{method: 'POST', body: {FORM}}}).catch(() => 0)",
    "without CORS": f"fetch(TARGET, {{method: 'POST', mode: 'no-cors', body: {FORM}}}).catch(() => 0)",
    "without referrer": (
        f"fetch(TARGET, {{method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer', body: {FORM}}})"
        ".catch(() => 0)"
    ),
    "in the query": "fetch(TARGET + '?signalFinishURL=http://a/', {method: 'POST', mode: 'no-cors'}).catch(() => 0)",
    "GET": "fetch(TARGET + '?signalFinishURL=http://a/', {mode: 'no-cors'}).catch(() => 0)",
    "JSON": (
        "fetch(TARGET, {method: 'POST', headers: {'Content-Type': 'application/json'}, "
        'body: \'{"signalFinishURL": "http://a/"}\'}).catch(() => 0)'
    ),
    "keepalive": f"fetch(TARGET, {{method: 'POST', mode: 'no-cors', keepalive: true, body: {FORM}}}).catch(() => 0)",
    "beacon": f"navigator.sendBeacon(TARGET, {FORM})",
    "image": "new Image().src = TARGET + '?signalFinishURL=http://a/'",
    "form": SUBMITTED.replace("ENCTYPE", "'application/x-www-form-urlencoded'"),
    "form with parts": SUBMITTED.replace("ENCTYPE", "'multipart/form-data'"),
    "form as text": SUBMITTED.replace("ENCTYPE", "'text/plain'"),
    "sandboxed frame": """
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-forms allow-scripts';
        frame.srcdoc = `<form method=POST action="${TARGET}"><input name=signalFinishURL value="http://a/"></form>`
            + '<script>document.forms[0].submit()</' + 'script>';
        document.documentElement.append(frame);""",
}


@pytest.mark.promise(134)
@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("page_host", ["127.0.0.1", "localhost"], ids=["same", "cross"])
def test_no_page_gets_a_ticket(server: IncomingServer, page: Page, page_host: str, attempt: str) -> None:
    """From the server's own origin and from another one; a sandboxed frame has none."""
    page.goto(f"http://{page_host}:{server.port}/incoming/frontend/incoming.js")
    before = len(server.log)
    page.evaluate(f"() => {{ const TARGET = '{server.base_url}{FUNCTION}'; {ATTEMPTS[attempt]} }}")
    wait_until(lambda: f"{FUNCTION} 4" in server.log[before:], "the attempt to have been refused")
    assert f"{FUNCTION} 2" not in server.log
