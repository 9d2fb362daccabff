"""The exit codes of `incoming send`, which scripts rely on, and its name in messages."""

COMMAND = "incoming send"

OK = 0
USAGE = 2
AGAIN = 3
"""Run the same command again: interrupted, or nothing worked for too long."""
REFUSED = 4
CHANGED = 5
"""The file is not the one that its upload began with."""
