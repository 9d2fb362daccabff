"""Divide the file descriptors of a worker between clients and what the server itself needs to go on.

Connections are refused before the process has no descriptor left, so that partial files and the database can still be
opened and health checks are answered. This file decides numbers only; who is refused is decided elsewhere.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

OWN_DESCRIPTORS = 64
"""Descriptors for the database, callbacks, the event loop and standard streams."""

MAX_REFUSALS = 64
MAX_ESSENTIAL = 16


@dataclass(frozen=True)
class DescriptorBudget:
    """The division for one worker."""

    clients: int
    """The first descriptor number that no client's connection may have. The kernel always gives the lowest free number,
    so a connection with this number or a higher one is one too many, whatever the other descriptors are open for.
    """
    refused: int
    """Refused connections that may stay open at the same time until their answer has been read."""
    essential: int
    """Connections beyond `clients` that may be open at the same time for health checks and backend functions."""

    @classmethod
    def of_process(cls, most_files: int) -> DescriptorBudget:
        """Return the division of this process's soft limit; `most_files` is how many files the store holds open."""
        return cls.of(resource.getrlimit(resource.RLIMIT_NOFILE)[0], most_files)

    @classmethod
    def of(cls, limit: int, most_files: int) -> DescriptorBudget:
        """Return the division of `limit` descriptors; under a small limit clients get half of it."""
        if limit == resource.RLIM_INFINITY:
            limit = 2**31
        refused, essential = min(MAX_REFUSALS, limit // 16), min(MAX_ESSENTIAL, limit // 16)
        reserve = min(min(most_files, limit // 4) + OWN_DESCRIPTORS + refused + essential, limit // 2)
        return cls(limit - reserve, refused, essential)
