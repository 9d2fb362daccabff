"""The formats of the protocols, sans-I/O: bytes become values and values become bytes."""
