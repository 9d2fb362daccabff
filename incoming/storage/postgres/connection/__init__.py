"""Connections to a PostgreSQL server, transactions over them, and what becomes of both when it fails."""
