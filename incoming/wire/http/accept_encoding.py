"""Which content coding an answer gets: the header field Accept-Encoding (RFC 9110 section 12.5.3).

Chooses among the offered codings; does not know how content is encoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_CODING = re.compile(r"\s*([\w!#$%&'*+.^`|~-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?", re.ASCII)


def best_coding(accepted: str, offered: Sequence[str]) -> str | None:
    """Return the offered coding that the client prefers, the first of several; None for identity.

    Members of the list that are malformed are ignored.
    """
    weights: dict[str, float] = {}
    for member in accepted.split(","):
        if match := _CODING.fullmatch(member):
            weights[match[1].lower()] = float(match[2] or 1)
    best = max(offered, key=lambda coding: _weight(weights, coding), default=None)
    if best is None or _weight(weights, best) == 0 or _weight(weights, best) < weights.get("identity", 0):
        return None
    return best


def _weight(weights: dict[str, float], coding: str) -> float:
    return weights.get(coding, weights.get("*", 0))
