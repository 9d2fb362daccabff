"""What of W3C Trace Context is passed on: valid fields unchanged, everything else not at all."""

import pytest

from incoming.wire.trace_context import MAX_STATE, trace_context

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"


def test_valid_fields_are_passed_on() -> None:
    assert trace_context(VALID, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7") == (
        VALID,
        "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    )
    assert trace_context(f" {VALID}\t", "") == (VALID, "")


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "x",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{VALID},{VALID}",
        f"00-{TRACE}-{PARENT}-01\r\nX: y",
        f"00-{TRACE[:-1]}\u0661-{PARENT}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored_with_its_state(traceparent: str) -> None:
    assert trace_context(traceparent, "a=b") == ("", "")


def test_a_later_version_is_passed_on_as_this_one() -> None:
    assert trace_context(f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", "a=b") == (VALID, "a=b")
    assert trace_context(f"cc-{TRACE}-{PARENT}-01.x", "a=b") == ("", "")


@pytest.mark.parametrize("tracestate", ["x" * (MAX_STATE + 1), "a=b\r\nX: y", "a=\u00e9", " "])
def test_an_unusable_tracestate_is_dropped(tracestate: str) -> None:
    assert trace_context(VALID, tracestate) == (VALID, "")
