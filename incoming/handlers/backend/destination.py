"""Where an app's file goes: the parameters destType and destKey, within what the operator allows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from incoming.settings.object_stores import FILE, ObjectStore
from incoming.settings.settings import Settings

MAX_KEY = 1024
"""Bytes of a key with its prefix in UTF-8, S3's limit."""

RESERVED = ("parked/", "probe/")
"""What keys below a store's prefix never begin with: the server's own objects have these."""


@dataclass(frozen=True)
class Destinations:
    """What apps may ask for: names of `destType`, the default first, and the object stores among them."""

    names: tuple[str, ...] = (FILE,)
    stores: Mapping[str, ObjectStore] | None = None

    @staticmethod
    def of(settings: Settings) -> Destinations:
        """Return what the operator allows."""
        stores = {store.name: store for store in settings.object_stores}
        return Destinations(settings.dest_types or (FILE, *stores), stores)

    def dest_type(self, text: str) -> str:
        """Return a destType that is allowed. Raises ValueError."""
        if text in self.names:
            return text
        if self.names == (FILE,):
            raise ValueError("only 'file' is supported")
        close = difflib.get_close_matches(text.lower(), self.names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{text!r} is none of those that this server allows: {', '.join(self.names)}{hint}")

    def key(self, dest_type: str, text: str) -> str:
        """Return a destKey that is allowed in this store. Raises ValueError."""
        store = (self.stores or {}).get(dest_type)
        if store is None:
            raise ValueError(f"only objects have a key, destType is {dest_type!r}")
        if not store.key_pattern:
            raise ValueError(f"the operator of this server lets apps choose no keys in {dest_type!r} (key_pattern)")
        if (length := len((store.prefix + text).encode())) > MAX_KEY:
            raise ValueError(f"it has {length} bytes with its prefix, the limit is {MAX_KEY}")
        if not text.isprintable() or any(part in ("", ".", "..") for part in text.split("/")):
            raise ValueError("it has an empty component, '.', '..' or characters that cannot be printed")
        if text.startswith(RESERVED):
            raise ValueError(f"it begins with {' or '.join(RESERVED)}, which the server uses")
        if not re.fullmatch(store.key_pattern, text):
            raise ValueError(f"it does not match the operator's key_pattern {store.key_pattern}")
        return text


FILES_ONLY = Destinations()
