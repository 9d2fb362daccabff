"""Processes: supervisor, workers, their HTTP server, signals, systemd, log format."""
