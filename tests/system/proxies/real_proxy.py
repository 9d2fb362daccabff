"""Real proxies as processes, with the configurations of conf/.

What differs from the shipped text is addresses, certificates, directories, and what a test asks for: `edits`, each a
pattern that has to be found, and what stands there instead.
"""

import os
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT, require_tool
from tests.support.waiting import wait_until
from tests.system.proxies.authority import Certificate

Edit = tuple[str, str]


class RealProxy(ABC):
    """Serves https at 127.0.0.1:`port` from `start()` to `stop()`; `prefix` is the path under which the server is."""

    blocked: Sequence[Edit]
    """Edits after which no upgrade gets through."""

    def __init__(self, shipped: str, home: Path, certificate: Certificate, prefix: str = "") -> None:
        self.port = free_port()
        self.prefix = prefix
        self._shipped = (ROOT / "conf" / shipped).read_text()
        self._home = home
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._text = ""

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self, server_port: int, app_port: int, *edits: Edit) -> None:
        one_server = ("127\\.0\\.0\\.1:4000", f"127.0.0.1:{server_port}")
        self._shipped = self._shipped.replace("127.0.0.1:8000", f"127.0.0.1:{app_port}")
        self.start_edited(one_server, *edits)

    def start_edited(self, *edits: Edit) -> None:
        """Start with these edits, which name the servers."""
        text = self._shipped
        for pattern, instead in [*self.own_edits(), *edits]:
            text = self._replaced(text, pattern, instead)
        self._home.mkdir()
        self._text = text
        self._run()

    def restart(self) -> None:
        """Stop it with all its connections, and start it again."""
        self.stop()
        assert not accepts_connections(self.port)
        self._run()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def written(self) -> str:
        """Return its log, which is whole when it has stopped and a line for each request was seen."""
        files = [self._home / name for name in ("access.log", "output.log")]
        return "".join(file.read_text() for file in files if file.exists())

    @abstractmethod
    def own_edits(self) -> Sequence[Edit]:
        """Address and certificate."""

    @abstractmethod
    def command(self, text: str) -> list[str]:
        """Return the command that runs it in the foreground with this configuration, written into its home."""

    def _run(self) -> None:
        with (self._home / "output.log").open("ab") as output:
            environment = os.environ | {"XDG_DATA_HOME": str(self._home), "XDG_CONFIG_HOME": str(self._home)}
            self._process = subprocess.Popen(
                self.command(self._text), cwd=self._home, env=environment, stdout=output, stderr=output
            )
        try:
            wait_until(self._is_up, f"{type(self).__name__} to listen")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said: {(self._home / 'output.log').read_text()}") from None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "it ended"
        return accepts_connections(self.port)

    @staticmethod
    def _replaced(text: str, pattern: str, instead: str) -> str:
        text, count = re.subn(pattern, lambda _: instead, text, flags=re.MULTILINE)
        assert count, f"the configuration has nothing like {pattern!r}"
        return text

    def _write(self, name: str, text: str) -> str:
        path = self._home / name
        path.write_text(text)
        return str(path)


class Nginx(RealProxy):
    blocked = (
        (r"proxy_set_header Upgrade \$http_upgrade;", ""),
        (r"proxy_set_header Connection \$incoming_connection;", "proxy_set_header Connection '';"),
    )

    def own_edits(self) -> Sequence[Edit]:
        return (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            (r"ssl_certificate  .*;", f"ssl_certificate {self._certificate.chain};"),
            ("ssl_certificate_key .*;", f"ssl_certificate_key {self._certificate.key};"),
            ("/var/log/nginx/incoming.log", f"{self._home}/access.log"),
        )

    def command(self, text: str) -> list[str]:
        home = self._home
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {home}/{kind};" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        path = self._write(
            "nginx.conf",
            f"pid {home}/pid; error_log {home}/error.log; daemon off; {user} worker_processes 1;"
            f"events {{}} http {{ access_log off; {temporary}\n{text} }}",
        )
        return [require_tool("nginx"), "-p", str(home), "-c", path, "-e", f"{home}/error.log"]


class HAProxy(RealProxy):
    blocked = (("^    option forwardfor$", "    option forwardfor\n    http-request del-header upgrade"),)

    def own_edits(self) -> Sequence[Edit]:
        return (
            ("bind :443 ssl crt [^ ]*", f"bind 127.0.0.1:{self.port} ssl crt {self._certificate.both}"),
            ("log /dev/log local0", "log stdout format raw local0"),
        )

    def command(self, text: str) -> list[str]:
        return [require_tool("haproxy"), "-db", "-f", self._write("haproxy.cfg", text)]


class Caddy(RealProxy):
    blocked = (("flush_interval -1", "flush_interval -1\n\t\t\theader_up -Upgrade\n\t\t\theader_up -Connection"),)

    def own_edits(self) -> Sequence[Edit]:
        tls = f"\ttls {self._certificate.chain} {self._certificate.key}"
        return (
            ("^uploads.example.org {", f"https://127.0.0.1:{self.port} {{\n{tls}"),
            ("/var/log/caddy/incoming.log", f"{self._home}/access.log"),
        )

    def command(self, text: str) -> list[str]:
        path = self._write("Caddyfile", "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
        return [require_tool("caddy"), "run", "--adapter", "caddyfile", "--config", path]


class Apache(RealProxy):
    blocked = ((" upgrade=websocket", ""),)
    _MODULES = "mpm_event authz_core ssl proxy proxy_http proxy_wstunnel reqtimeout setenvif socache_shmcb".split()

    def own_edits(self) -> Sequence[Edit]:
        return (
            (r"<VirtualHost \*:443>", f"<VirtualHost 127.0.0.1:{self.port}>"),
            ("SSLCertificateFile .*", f"SSLCertificateFile {self._certificate.chain}"),
            ("SSLCertificateKeyFile .*", f"SSLCertificateKeyFile {self._certificate.key}"),
            ("/var/log/apache2/incoming.log", f"{self._home}/access.log"),
        )

    def command(self, text: str) -> list[str]:
        modules = "".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in self._MODULES
        )
        own = (
            f"ServerRoot {self._home}\nDefaultRuntimeDir {self._home}\nPidFile {self._home}/pid\n"
            f"ErrorLog {self._home}/error.log\nServerName 127.0.0.1\nListen 127.0.0.1:{self.port}\n"
        )
        path = self._write("apache.conf", modules + own + text)
        return [require_tool("apache2"), "-DFOREGROUND", "-d", str(self._home), "-f", path]
