"""Failing system calls of a running process, by strace. Needs root."""

import signal
import subprocess
from pathlib import Path

from tests.support.tools import require_tool


class Strace:
    """strace on every thread of a running process. `hits` is the number of modified calls."""

    def __init__(self, pid: int, inject: str, log: Path) -> None:
        self._log = log
        call = inject.partition(":")[0]
        command = [require_tool("strace"), "-f", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={inject}"]
        self._process = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "attached" in line:
                break
        else:
            self._process.wait(20)
            self._process.stderr.close()
            raise AssertionError("strace could not attach")

    @property
    def hits(self) -> int:
        return self._log.read_text().count("(INJECTED)")

    def detach(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        assert self._process.stderr is not None
        self._process.stderr.close()
