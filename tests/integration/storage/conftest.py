"""The fixtures of the unit tests of stores, for those that need processes and real file systems."""

from tests.unit.storage.conftest import clock, disk, files, open_files, open_tickets, root, tickets

__all__ = ["clock", "disk", "files", "open_files", "open_tickets", "root", "tickets"]
