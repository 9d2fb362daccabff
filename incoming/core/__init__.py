"""Ground floor: decides. Pure functions and values, no I/O, no clock, no asyncio, no logging, no Tornado."""
