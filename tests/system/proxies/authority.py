"""A certificate authority for one test, and a certificate of it for 127.0.0.1."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.tools import require_tool


@dataclass(frozen=True)
class Certificate:
    """`chain` and `key` are for servers, `both` in one file for HAProxy, `authority` for clients."""

    authority: Path
    chain: Path
    key: Path
    both: Path

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts only this authority."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificate(directory: Path) -> Certificate:
    openssl = require_tool("openssl")
    directory.mkdir()
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"

    def run(command: str) -> None:
        subprocess.run([openssl, *command.split()], cwd=directory, check=True, capture_output=True)

    run(f"req -x509 {new_key} -keyout ca.key -out ca.pem -subj /CN=test-authority")
    run(
        f"req -x509 {new_key} -keyout key.pem -out chain.pem -subj /CN=127.0.0.1 -CA ca.pem -CAkey ca.key"
        " -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    )
    both = directory / "both.pem"
    both.write_bytes((directory / "chain.pem").read_bytes() + (directory / "key.pem").read_bytes())
    both.chmod(0o600)
    return Certificate(directory / "ca.pem", directory / "chain.pem", directory / "key.pem", both)
