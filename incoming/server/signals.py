"""What the processes of the server say about signals that they do not obey. What SIGTERM does is decided by each."""

from __future__ import annotations

HANGUP = "SIGHUP ignored; the configuration is read at the start only, restart the server to apply a change"
