"""The signals that the server ignores, and what it logs about them. What SIGTERM does is decided by each process."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def log_hangup() -> None:
    """Log that SIGHUP came, which the end of a terminal sends, and operators who hope for new settings."""
    log.info("SIGHUP ignored; the configuration is read at the start only, restart the server to apply a change")
