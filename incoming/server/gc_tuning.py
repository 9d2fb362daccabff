"""Tune Python's garbage collector: collect rarely, and never what lives as long as the worker.

A full collection costs half a microsecond per object: with a thousand uploads the event loop stops for a seventh of a
second, by default whenever there are a quarter more objects than at the last one. The objects of an upload and its
connections hold no cycles after a normal end and are freed at once; errors may leave some small ones.
"""

from __future__ import annotations

import gc

THRESHOLDS = (5_000, 5, 40)
"""New objects per collection of the youngest generation; such collections per collection of the middle one; and those
per full collection, which is one per million objects. Measured with a thousand uploads: milliseconds for each of the
first two.
"""


def collect_rarely() -> None:
    """Set the thresholds; call it when all objects exist that live until the process ends."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
