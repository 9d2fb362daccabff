"""The signature of a callback: how it is computed and verified.

`Incoming-Signature` is "sha256=" and the HMAC (RFC 2104) with SHA-256 in hexadecimal digits, keyed with the ticket's
secret in UTF-8, of `Incoming-Timestamp` (seconds since the epoch, decimal), a full stop, and the request's body byte by
byte. Decides nothing about the age of a timestamp.
"""

from __future__ import annotations

import hashlib
import hmac

PREFIX = "sha256="


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the value of `Incoming-Signature`."""
    return PREFIX + hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()


def is_signature(given: str, secret: str, timestamp: int, body: bytes) -> bool:
    """Return whether `given` is the signature, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), signature(secret, timestamp, body).encode())
