"""When Python's garbage collector stops the worker to look for cycles: seldom, and never at what lives as long as it.

A look at everything costs half a microsecond for each object: at a thousand uploads everybody waits for a seventh of a
second, by default whenever there is a quarter more than at the last one. What an upload and its connections are made of
holds no cycles once they have ended well, so that it goes at once without a look; errors may leave some small ones.
"""

from __future__ import annotations

import gc

THRESHOLDS = (5_000, 5, 40)
"""Objects more than at the last look that bring on one at the newest ones; how many of these bring on one at those that
survived them; and how many of those, that is a million objects, one at everything. Measured with a thousand uploads:
milliseconds for each of the first two.
"""


def look_seldom() -> None:
    """To be called when everything is there that stays until the process ends."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
