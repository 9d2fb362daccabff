"""Remove RFC 6455's mask (section 5.3) with the fastest installed code, because every byte is masked.

`websockets` comes with the extra `fast`. It is ten times as fast as Tornado's C function and reads from any buffer; the
other two need a copy.
"""

from __future__ import annotations


def by_python(data: memoryview, mask: bytes) -> bytes:
    length = len(data)
    pattern = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data) ^ int.from_bytes(pattern)).to_bytes(length)


def by_tornado(data: memoryview, mask: bytes) -> bytes:
    return websocket_mask(mask, bytes(data))


try:
    from tornado.speedups import websocket_mask
except ImportError:  # Tornado was built without a compiler
    unmask = by_python
else:
    unmask = by_tornado

try:
    from websockets.speedups import apply_mask
except ImportError:
    pass
else:
    unmask = apply_mask
