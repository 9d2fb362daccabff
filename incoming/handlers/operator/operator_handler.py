"""What all resources of the status page have in common: who may use them, and what protects them.

Only for backend_networks. Browsers may use them, so they are protected against pages of other sites (a header that
those cannot send, Origin, Sec-Fetch-Site), DNS rebinding, framing, and the content of file names.
"""

from __future__ import annotations

import json
from typing import Any

from incoming.core.errors import Forbidden
from incoming.handlers.base import Handler
from incoming.handlers.caller_access import require_operator, same_site, shows_token

CSRF_HEADER = "X-Incoming-Operator"
"""Pages of other sites cannot send this header without a preflight (CORS)."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class OperatorHandler(Handler):
    """A resource for operators. With a backend_token, browsers are asked for it as a password."""

    for_pages = False

    def prepare(self) -> None:
        require_operator(self.request, self.services.settings)
        if not shows_token(self.request, self.services.settings):
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Basic realm="Incoming!!: any user, backend_token as password"')
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("the status page requires the backend_token as password")

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")

    def require_own_page(self) -> None:
        """Raise Forbidden for what a page of another site may have caused: reading the status."""
        if not same_site(self.request):
            raise Forbidden("pages of other sites may not read the status")

    def require_guard(self) -> None:
        """Raise Forbidden for what a page of another site may have caused: a change."""
        if CSRF_HEADER not in self.request.headers or not same_site(self.request):
            raise Forbidden("only the status page itself may do this")

    def finish_json(self, content: dict[str, Any]) -> None:
        """End the answer with an object."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(content))
