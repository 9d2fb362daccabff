"""What an app's response means for the upload: accepted, refused, unclear, or not now.

Pure. A refusal throws a whole upload away, so it must be something that only the app can have said. While an app is
redeployed, its proxy and its framework answer in its place: an empty 200, a 404, a redirect, a page. Such a response
is unclear, and the caller asks again for a time. When to ask again is delivery.py's decision.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from incoming.callbacks.known_responses import Advice, advice_on, is_stock_text
from incoming.callbacks.response import MAX_BODY, Response, one_line
from incoming.core.callback_url import masked
from incoming.core.ticket import Callback

BUSY_STATUSES = frozenset({408, 425, 429})
"""Client errors (RFC 9110, RFC 8470, RFC 6585) that say "not now" rather than "not this"."""

ACCEPTING_STATUSES = frozenset({200, 201, 202, 203})
REFUSING_STATUSES = frozenset({403, 409, 410, 418, 422})
"""With a text of the app's own these are a refusal: no proxy says them in passing with words that are not its own."""

_REFUSE = re.compile(r"refuse\s*(?::\s*(.*))?", re.DOTALL | re.IGNORECASE)


class Verdict(Enum):
    """What a response, or its absence, means for the upload."""

    DONE = "done"
    WAIT = "wait"
    REFUSED = "refused"
    UNCLEAR = "unclear"
    """Something answered, perhaps not the app: tried again for `handover_refusal_time`, then it is a refusal."""
    AGAIN = "again"
    """Not reached, or not now: tried again for `handover_retry_time`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` is one line for people; `retry_after` is in seconds, if the app named it.

    `answered` is False if the callback may have arrived, but no complete answer came back. `advice` is for developers
    and operators: the known cause of a response that is neither acceptance nor refusal, and its cure. `repeated` is
    whether the app may have got the request once before this answer, over a connection that it then closed.
    """

    verdict: Verdict
    reason: str = ""
    retry_after: float | None = None
    answered: bool = True
    advice: Advice | None = None
    repeated: bool = False


def judge(response: Response, callback: Callback, now: float) -> Answer:
    """Return what a complete response means. `now` is in seconds since the epoch."""
    if response.status >= 500 or response.status in BUSY_STATUSES:
        wanted = retry_after(response.header("Retry-After"), now)
        return Answer(Verdict.AGAIN, describe(response), wanted, advice=advice_on(response))
    if callback.cancelled:
        return Answer(Verdict.DONE)  # the app knows of the cancellation, whatever it answers
    if response.status in ACCEPTING_STATUSES and response.is_whole:
        word, reason = _verdict_word(response)
        if word in (Verdict.DONE.value, Verdict.WAIT.value):
            return Answer(Verdict(word))
        if word == "refuse":
            return Answer(Verdict.REFUSED, one_line(masked(reason, response.secret)) or "it gave no reason")
    if _is_own_refusal(response):
        return Answer(Verdict.REFUSED, describe(response))
    return Answer(Verdict.UNCLEAR, describe(response), advice=advice_on(response))


def _verdict_word(response: Response) -> tuple[str, str]:
    """Return the word that the app answers with, in lower case, and the reason of a refusal.

    Frameworks send a string as JSON, and many apps answer with an object: "done" and {"status": "done"} can mean
    nothing else. An object with other members might mean something else.
    """
    said: Any = response.word
    if isinstance(response.json, str):
        said = response.json.strip()
    elif isinstance(response.json, dict):
        said = response.json.get("status")
        reason = response.json.get("reason", "")
        if set(response.json) - {"status", "reason"} or not isinstance(said, str) or not isinstance(reason, str):
            return "", ""
        word = said.strip().lower()
        return (word, reason) if word == "refuse" or "reason" not in response.json else ("", "")
    refusal = _REFUSE.fullmatch(said)
    return ("refuse", refusal[1] or "") if refusal else (said.lower(), "")


def _is_own_refusal(response: Response) -> bool:
    if response.status not in REFUSING_STATUSES or response.is_html or not response.word:
        return False
    is_stock = response.status != 418 and is_stock_text(response)  # no proxy says that it is a teapot
    return response.is_whole and not is_stock and advice_on(response, by_text=True) is None


def describe(response: Response) -> str:
    """Return in one line what was answered."""
    if not response.is_readable:
        coding = one_line(response.header("Content-Encoding"))
        return f"it answered {response.status_line} in the content coding '{coding}', which cannot be read"
    said = response.line
    if response.status == 200:
        if response.length > MAX_BODY:
            return f"it answered more than {MAX_BODY} bytes instead of 'done' or 'wait': '{said}'"
        return f"it answered neither 'done' nor 'wait' but '{said}'" if said else "it answered nothing"
    return f"it answered {response.status_line}" + (f": {said}" if said else "")


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After field asks for (RFC 9110 section 10.2.3: a number of them, or a date)."""
    if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
