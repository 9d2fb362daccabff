"""The domain: tickets, extents, identities and errors. Pure: no I/O, no asyncio, no logging, no Tornado."""
