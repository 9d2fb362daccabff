"""`incoming check store NAME`: what an object store can and cannot do, and what will be used of it.

Decides how findings are printed. What is tried is decided by the storage itself.
"""

from __future__ import annotations

from incoming.cli.checks.findings import Findings
from incoming.settings.settings import Settings
from incoming.storage.open import examine_store


def check_store(settings: Settings, name: str) -> Findings:
    """Return what was found of a store. Raises UnusableStorage if there is none of this name."""
    found = Findings(f"object store {name}")
    for finding in examine_store(settings, name, everything=True):
        if finding.cure:
            found.fault(finding.fact, finding.cure)
        elif finding.kind == "note":
            found.note(finding.fact)
        else:
            found.good(finding.fact)
    return found
