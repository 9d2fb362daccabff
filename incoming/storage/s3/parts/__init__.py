"""The parts of an upload: where they are, their receipts, spooling and parking, direct parts, and completion."""
