"""File types that the application accepts, judged by the name and the type that the client states.

Decides what an entry of `allowedTypes` matches: an extension matches the end of the name, a MIME type (RFC 2045) the
type that the browser assumes. Does not inspect the file: it prevents mistakes, not attacks.
"""

from __future__ import annotations

from collections.abc import Iterable


def is_wanted(name: str | None, media_type: str | None, wanted: Iterable[str]) -> bool:
    """Return whether an entry of `wanted` (`.pdf`, `image/png`, `image/*`, in lower case) matches name or type."""
    file_name = (name or "").lower().rstrip()
    stated = (media_type or "").partition(";")[0].strip().lower()
    return any(
        file_name.endswith(entry) if entry.startswith(".") else stated == entry or _is_kind(stated, entry)
        for entry in wanted
    )


def _is_kind(stated: str, entry: str) -> bool:
    kind, _, rest = entry.partition("/")
    return rest == "*" and stated.startswith(f"{kind}/")
