"""`incoming check store NAME`: what an object store can and cannot do, and what will be used of it.

Decides how findings are printed. What is tried is decided by the storage itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from incoming.cli.checks.findings import Findings
from incoming.settings.settings import Settings
from incoming.storage.open import examine_store


def check_store(settings: Settings, name: str, origins: Sequence[str] = ()) -> Findings:
    """Return what was found of a store, and of its CORS rule for pages of these origins or the allowed ones.

    Raises UnusableStorage if there is none of this name.
    """
    found = Findings(f"object store {name}")
    for finding in examine_store(settings, name, everything=True, origins=origins or _allowed(settings, name)):
        if finding.cure:
            found.fault(finding.fact, finding.cure)
        elif finding.kind == "note":
            found.note(finding.fact)
        else:
            found.good(finding.fact)
    return found


def _allowed(settings: Settings, name: str) -> Sequence[str]:
    """Return the origins of `allowed_origins`, if their pages send straight to this store."""
    is_direct = any(store.direct for store in settings.object_stores if store.name == name)
    return settings.allowed_origins if is_direct else ()
