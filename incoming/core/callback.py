"""A callback that an app has not answered yet, and how long it has been tried.

Decides which time counts towards the limits: that of the attempts, and the pauses and waits between them as far as a
server ran during them. Differences of two times of day do not count: a clock that was wrong when one of them was stored
would end a limit early.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Callback:
    """One entry of the outbox: a notice to the app, which is kept until the app has answered.

    `id` names the delivery and stays the same over all attempts; `since` is when it was created and `due_at` when it is
    tried next, both seconds since the epoch. `unanswered`: the app may have received an earlier attempt, but no answer
    came back.

    `tried_for`: the seconds that count towards the limit of all attempts; `unclear_for`: those since answers began that
    may not be the app's own, None after any other one. `pause`: the seconds of the pause that began at `paused_at`, by
    the steady clock; they count once it has passed.
    """

    id: str
    cancelled: bool
    since: float
    due_at: float
    attempts: int = 0
    last_error: str = ""
    unanswered: bool = False
    tried_for: float = 0.0
    unclear_for: float | None = None
    pause: float = 0.0
    paused_at: float = 0.0

    def spend(self, seconds: float) -> Callback:
        """Return the callback with `seconds` added to the times that count."""
        unclear_for = None if self.unclear_for is None else self.unclear_for + seconds
        return replace(self, tried_for=self.tried_for + seconds, unclear_for=unclear_for)

    def end_pause(self, steady: float) -> Callback:
        """Return the callback at the end of its pause, which an operator's retry may end early."""
        passed = min(max(steady - self.paused_at, 0.0), self.pause)
        return replace(self.spend(passed), pause=0.0)

    def put_off(self, pause: float, now: float, steady: float) -> Callback:
        """Return the callback that is due again after `pause` seconds."""
        return replace(self, due_at=now + pause, pause=pause, paused_at=steady)
