"""The operator reads of every fault, and not of every repetition."""

import pytest

from incoming.storage import fault_log
from incoming.storage.fault_log import RateLimitedLog


def test_repeated_faults_are_logged_with_pauses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 5.0
    monkeypatch.setattr(fault_log.time, "monotonic", lambda: now)
    log = RateLimitedLog()
    for fault in ("full", "full", "broken", "full"):
        log.report(fault, "it is %s", fault)
    assert caplog.messages == ["it is full", "it is broken"]
    now += fault_log.REPEAT_INTERVAL
    log.report("full", "it is still %s", "full")
    assert caplog.messages[2:] == ["it is still full"]
