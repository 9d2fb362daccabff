"""The ground floor: decides. Pure: no I/O, no clock, no event loop, no logging, no web framework."""
