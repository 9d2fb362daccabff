"""A page of doc/ that leads from an empty directory to a running application, followed to the letter.

Its blocks become one script: a block after a line such as "`app.py`:" is written to that file ("..., at its end:"
appends), and shell blocks are run, in the order of the page. The last command is the application. Ports and the storage
directory are replaced. Lines that install packages are not run, because the tests' dependencies have them.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.incoming_server import IncomingServer
from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT, require_node_package, require_tool
from tests.support.waiting import wait_until

_BLOCK = re.compile(r"(?:^`([\w./]+)`(, at its end)?:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INSTALLS = re.compile(r"^(pip|npm) install (.*)\n", re.MULTILINE)
_PLAIN_CODE = re.compile(
    r"^Save \[the plain code\]\(backends\.md#in-another-language\), .* as `([\w.]+)`\.$", re.MULTILINE
)


class Walkthrough:
    """The application of doc/`page`.md, built in `directory`, beside a server. Use it in a with statement."""

    def __init__(self, page: str, directory: Path, server: IncomingServer) -> None:
        self.port = free_port()
        self.directory = directory / "app"
        self.directory.mkdir()
        self._text = (ROOT / "doc" / f"{page}.md").read_text()
        self._blocks = directory / "blocks"
        self._blocks.mkdir()
        self._log = directory / "app.log"
        self._replaced = {"localhost:4000": server.host, "/srv/incoming": str(server.storage_dir)}
        self._replaced |= {"localhost:8000": f"localhost:{self.port}", "8000": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> str:
        """What the commands and the application have printed."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        script = self._directory_script()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [require_tool("bash"), "-ec", script],
                cwd=self.directory,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, "the application to listen", 120)
            assert self._process.poll() is None, f"the application has ended:\n{self.log}"
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _is_up(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or accepts_connections(self.port)

    def _directory_script(self) -> str:
        """Write the blocks of files beside the application's directory; return the script that puts them there."""
        self._install()
        lines = []
        for number, (name, at_end, language, content) in enumerate(_BLOCK.findall(self._text)):
            text = self._with_own_ports(content)
            if name:
                block = self._blocks / str(number)
                block.write_text(text)
                lines.append(f"cat {shlex.quote(str(block))} {'>>' if at_end else '>'} {shlex.quote(name)}")
            else:
                assert language == "sh", f"a block of {language} without a file's name"
                lines += _INSTALLS.sub("", text).splitlines()
        assignments, command = re.fullmatch(r"((?:[A-Z_]+=\S+ )*)(.*)", lines.pop()).groups()  # type: ignore[union-attr]
        return "\n".join([*lines, f"{assignments}exec {command}"])

    def _install(self) -> None:
        """Do what stands for the commands that install, and save the plain code if the page asks for it."""
        for program, packages in _INSTALLS.findall(self._text):
            for package in packages.split():
                if program == "npm":
                    (self.directory / "node_modules").symlink_to(require_node_package(package).parent)
        for name in _PLAIN_CODE.findall(self._text):
            backends = (ROOT / "doc" / "backends.md").read_text()
            [code] = re.findall(r"^<!-- test: plain -->\n```js\n(.*?)^```$", backends, re.MULTILINE | re.DOTALL)
            (self.directory / name).write_text(code)

    def _with_own_ports(self, text: str) -> str:
        pattern = "|".join(map(re.escape, self._replaced))
        return re.sub(pattern, lambda found: self._replaced[found[0]], text)
