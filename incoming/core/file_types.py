"""Whether a file is of a type that the app wants, going by what its sender says of it.

Decides what an entry of `allowedTypes` matches: an extension the end of the name, a MIME type (RFC 2045) what the
browser took the file for. Nobody looks into the file here, so it keeps honest users from mistakes and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable


def is_wanted(name: str | None, media_type: str | None, wanted: Iterable[str]) -> bool:
    """Whether an entry of `wanted` (`.pdf`, `image/png` or `image/*`, in lower case) fits the name or the MIME type."""
    file_name = (name or "").lower().rstrip()
    told = (media_type or "").partition(";")[0].strip().lower()
    return any(
        file_name.endswith(entry) if entry.startswith(".") else told == entry or _is_kind(told, entry)
        for entry in wanted
    )


def _is_kind(told: str, entry: str) -> bool:
    kind, _, rest = entry.partition("/")
    return rest == "*" and told.startswith(f"{kind}/")
