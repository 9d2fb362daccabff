"""`incoming check database`: whether the ticket database can keep uploads, what may lose commits, what slows it down.

What is a fault is decided by the storage itself.
"""

from __future__ import annotations

from incoming.cli.checks.findings import Findings
from incoming.settings.settings import Settings
from incoming.storage.administration import inspect
from incoming.storage.open import UnusableStorage


def check_database(settings: Settings) -> Findings:
    """Return what was found of the database that the settings name."""
    found = Findings("database")
    try:
        facts = inspect(settings)
    except UnusableStorage as error:
        found.fault(str(error), "see the cure in that line")
        return found
    for fact in facts:
        if fact.is_note:
            found.note(fact.text)
        elif fact.cure:
            found.fault(fact.text, fact.cure)
        else:
            found.good(fact.text)
    return found
