"""An application with faults that records every file it gets.

It may be killed while it takes the file, answer with errors, hang or ask for time; and a proxy may answer instead
during a deployment.
"""

import random
import threading
import time
from collections import Counter
from typing import Any

import requests

from tests.support.app_stub import DROP, Answer, Callback, Reply
from tests.system.faults.consistency import Heard, Witness

HANG = 3.0
"""Seconds, longer than the server's handover_timeout in these tests."""

DEPLOYING: tuple[Reply, ...] = (
    Answer(200, ""),
    Answer(404, "404 page not found"),
    Answer(502, "<html>Bad Gateway</html>"),
)
"""What proxies answer while the application behind them is replaced."""

MOODS = ("well",) * 6 + ("killed", "moves and is killed", "in trouble", "hangs", "asks for time")


class ChaosApp(Witness):
    """`server_port` is the port for `finish_upload`. `moods` counts its faults."""

    def __init__(self, server_port: int, seed: int, **others: Any) -> None:
        super().__init__(**others)
        self.default = self._decide
        self.moods: Counter[str] = Counter()
        self.deploying: Reply | None = None
        self.moved: set[str] = set()
        self._server_port = server_port
        self._seed = seed
        self._stopping = threading.Event()
        self._finishing: list[threading.Thread] = []

    def stop(self) -> None:
        super().stop()

    def end(self) -> None:
        """Return when none of its threads runs."""
        self._stopping.set()
        for thread in self._finishing:
            thread.join()

    def answer(self, callback: Callback) -> Answer:
        # To a cancellation any answer counts, its proxy's too: it is the application that has to hear of all of them.
        if self.deploying is not None and callback.params["cancelled"] != "yes":
            self.moods["deployed"] += 1
            reply = self.deploying
            assert isinstance(reply, Answer)
            return reply
        return super().answer(callback)  # type: ignore[no-any-return]

    def _decide(self, callback: Callback) -> Reply:
        ticket_id = callback.params["id"]
        if callback.params["cancelled"] == "yes":
            return "done"
        attempt = callback.headers["incoming-attempt"]
        mood = random.Random(f"{self._seed} {ticket_id} {attempt}").choice(MOODS)
        self.moods[mood] += 1
        if mood in ("killed", "moves and is killed"):
            if mood != "killed":
                self.remove(callback.params["filename"])
                self.moved.add(ticket_id)
            return DROP
        if mood == "in trouble":
            return 503, "database is down"
        if mood == "hangs":
            self._stopping.wait(HANG)
        if mood == "asks for time":
            thread = threading.Thread(target=self._finish, args=(ticket_id,), daemon=True)
            self._finishing.append(thread)
            thread.start()
            return "wait"
        return "done"

    def _finish(self, ticket_id: str) -> None:
        """Retry until the server has accepted it: it may be stopping or starting."""
        url = f"http://127.0.0.1:{self._server_port}/incoming/0.1/backend/finish_upload"
        time.sleep(0.2)
        while not self._stopping.is_set():
            try:
                if requests.post(url, {"id": ticket_id}, timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            self._stopping.wait(0.3)


def problems_of_callbacks(heard: list[Heard], ended: dict[str, str], stories: dict[str, str]) -> list[str]:
    """Return violations. `ended` has each upload's outcome: the digest of its file, or "cancelled"; `stories` is for
    the report.
    """
    wrong = []
    seen: dict[str, list[Heard]] = {}
    for one in heard:
        seen.setdefault(one.ticket_id, []).append(one)
    for ticket_id, outcome in ended.items():
        calls = seen.pop(ticket_id, [])
        story = stories[ticket_id]
        if not calls:
            wrong.append(f"{story}: ended as {outcome[:9]}, and its application was never called")
        for number, call in enumerate(calls):
            if call.cancelled != (outcome == "cancelled"):
                wrong.append(f"{story}: ended as {outcome[:9]}, called with cancelled={call.cancelled}")
            elif not call.cancelled and call.sha256 != outcome and not (call.sha256 is None and number):
                wrong.append(f"{story}: call {number + 1} found {(call.sha256 or 'no file')[:9]}, not {outcome[:9]}")
    wrong += [f"{ticket_id}: called about an upload that has not ended" for ticket_id in seen]
    return wrong
