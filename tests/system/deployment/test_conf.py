"""conf/ works: the server runs within the unit's confinement, alerts fire when they should, the dashboard and the
container use what exists, and the commands of doc/operations.md work.
"""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from incoming.monitoring.metrics import COUNTED, GAUGES, TIMED
from incoming.settings.settings import KEYS, load_settings
from tests.conftest import StartServer
from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.ports import free_port
from tests.support.tools import ROOT, require_tool, unavailable

CONF = ROOT / "conf"
OPERATIONS = (ROOT / "doc" / "operations.md").read_text()
UNIT = CONF / "systemd" / "incoming.service"
TEMPLATE = CONF / "systemd" / "incoming@.service"
ALERTS = CONF / "prometheus" / "incoming-alerts.yml"
EXPOSED = (
    {f"{metric.name}_total" for metric in COUNTED}
    | {f"{metric.name}_{part}" for metric in TIMED for part in ("bucket", "sum", "count")}
    | {metric.name for metric in GAUGES}
)


def unit_values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def upload(server: IncomingServer, app: AppStub, content: bytes) -> None:
    with urllib.request.urlopen(
        f"{server.base_url}/incoming/backend/new_upload", f"signalFinishURL={app.url}".encode(), timeout=20
    ) as answer:
        ticket = answer.read().decode()
    url = f"{server.base_url}/incoming/frontend/upload/{ticket}"
    headers = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PUT"), timeout=60) as answer:
        assert answer.status == 200
    app.wait_for(1, ticket)


# --- configuration file ---------------------------------------------------------------------------------------------


def test_every_key_is_in_the_configuration_file_with_its_default(tmp_path: Path) -> None:
    text = (CONF / "incoming.yaml").read_text()
    uncommented = re.sub(r"^#(\w+:)", r"\1", text, flags=re.MULTILINE)
    assert set(yaml.safe_load(uncommented)) == set(KEYS)
    (tmp_path / "all.yaml").write_text(uncommented)
    assert load_settings(["--config", str(tmp_path / "all.yaml")], {}) == load_settings([], {})


# --- systemd --------------------------------------------------------------------------------------------------------


def test_the_unit_is_locked_down(tmp_path: Path) -> None:
    command = [require_tool("systemd-analyze"), "security", "--offline=true", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        unavailable("systemd-analyze cannot judge a unit that is not loaded")
    [level] = re.findall(r"Overall exposure level for incoming.service: ([0-9.]+)", done.stdout)
    assert float(level) <= 1.1
    assert f"`systemd-analyze security incoming`: {level} of 10" in OPERATIONS.replace("\n", " ")


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE])
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.MULTILINE)
    name = unit.name.replace("@.", "@a.")
    (tmp_path / name).write_text(text)
    command = [require_tool("systemd-analyze"), "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stderr.splitlines() if name in line] == []


def test_the_template_confines_an_instance_as_the_unit_does() -> None:
    one, several = ([line for line in unit.read_text().splitlines() if "=" in line] for unit in (UNIT, TEMPLATE))
    differing = {line.partition("=")[0] for line in set(one) ^ set(several) if not line.startswith("#")}
    assert differing == {"Description", "After", "ExecStart"}
    assert "ExecStart=/opt/incoming/bin/incoming --config /etc/incoming/%i.yaml" in several


def test_the_units_time_outs_exceed_the_servers() -> None:
    [stop] = unit_values("TimeoutStopSec")
    assert int(stop) > load_settings([], {}).drain_timeout + 10
    assert unit_values("Type") == ["notify"]
    assert unit_values("Restart") == ["always"], "an end in good order that nobody wanted is an outage, too"
    assert unit_values("TimeoutStartSec") == ["30min"], "recovery and migrations may take longer than systemd's 90 s"
    [writable], [needed] = unit_values("ReadWritePaths"), unit_values("RequiresMountsFor")
    assert writable == needed
    assert f"storage_dir: {writable}" in OPERATIONS


def allowed_calls(analyze: str) -> set[str]:
    """Return the system calls that SystemCallFilter allows with this machine's systemd."""
    done = subprocess.run([analyze, "syscall-filter"], capture_output=True, text=True, timeout=60, check=True)
    groups: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())

    def names(group: str) -> set[str]:
        return {name for member in groups[group] for name in (names(member) if member[0] == "@" else {member})}

    first, second = unit_values("SystemCallFilter")
    assert second[0] == "~"
    allowed = set().union(*(names(group) for group in first.split()))
    return allowed - set().union(*(names(group) for group in second[1:].split()))


@pytest.mark.slow
def test_the_server_makes_no_system_call_that_the_unit_forbids(tmp_path: Path, app_stub: AppStub) -> None:
    allowed = allowed_calls(require_tool("systemd-analyze"))
    trace = tmp_path / "trace"
    server = Traced(tmp_path / "storage", "--workers", "2", trace=trace)
    with server:
        upload(server, app_stub, os.urandom(3_000_000))
        for path in ("metrics", "status/now", "health"):
            urllib.request.urlopen(f"{server.base_url}/incoming/{path}", timeout=20).close()
        assert server.stop(60) == 0
    lines = trace.read_text().splitlines()
    made = {match[1] for line in lines if (match := re.match(r"(?:\d+ +)?(\w+)\(", line))}
    assert {"openat", "pwrite64", "fsync", "accept4"} & made
    assert made - allowed - Traced.AS_ROOT == set()
    # MemoryDenyWriteExecute, RestrictSUIDSGID, RestrictRealtime
    assert [line for line in lines if "PROT_WRITE|PROT_EXEC" in line] == []
    assert [line for line in lines if re.search(r"\b(f?chmod(at)?|mkdir)\(.*\b0?[2-7][0-7]{3}\)", line)] == []


class Traced(IncomingServer):
    """The server under strace, from its first instruction."""

    AS_ROOT = frozenset({"fchown"})
    """Made by SQLite only when root uses somebody else's database, which the service never is."""

    def __init__(self, storage_dir: Path, *options: str, trace: Path) -> None:
        super().__init__(storage_dir, *options)
        self._trace = trace

    def _launch(self) -> None:
        command = [require_tool("strace"), "-f", "-qq", "-o", str(self._trace)]
        command += [os.environ.get("PYTHON", str(ROOT / ".venv" / "bin" / "python")), str(ROOT / "incoming.py")]
        command += ["--address", "127.0.0.1", "--port", str(self.port), "--storage-dir", str(self.storage_dir)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.options],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.umask(0o077),  # as the unit says
            )

    def stop(self, timeout: float = 30.0) -> int:
        """Send SIGTERM to strace's child: strace itself would only stop tracing."""
        [child] = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        os.kill(int(child), 15)
        return self.wait(timeout)


# --- Prometheus -----------------------------------------------------------------------------------------------------


def alerts() -> dict[str, dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\bincoming_\w+", expression))


def test_prometheus_accepts_the_configuration() -> None:
    promtool = require_tool("promtool")
    for what, file in (("rules", ALERTS), ("config", CONF / "prometheus" / "prometheus.yml")):
        subprocess.run([promtool, "check", what, str(file)], check=True, capture_output=True, timeout=60)


def test_every_alert_is_documented() -> None:
    assert set(re.findall(r"^\| `(Incoming\w+)`", OPERATIONS, re.MULTILINE)) == set(alerts())


def test_alerts_use_existing_metrics() -> None:
    for rule in alerts().values():
        assert metric_names(rule["expr"]) <= EXPOSED, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_the_scrape_job_uses_the_servers_path() -> None:
    [job] = yaml.safe_load((CONF / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("incoming", "/incoming/metrics")
    assert 'up{job="incoming"}' in ALERTS.read_text()
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{load_settings([], {}).port}"]


# What is seen, minute by minute over two hours, when all is well and when each alert should fire.
WELL = {
    'up{job="incoming",instance="a"}': "1x120",
    'up{job="incoming",instance="b"}': "1x120",
    'incoming_workers{instance="a"}': "4x120",
    'incoming_instance_workers{instance="a",exported_instance="x"}': "2x120",
    'incoming_instance_workers{instance="a",exported_instance="y"}': "2x120",
    'incoming_free_bytes{instance="a"}': "500000000000-1000000x120",
    'incoming_errors_total{error="storage_failed",instance="a"}': "3x120",
    'incoming_errors_total{error="internal_error",instance="a"}': "0x120",
    'incoming_errors_total{error="too_busy",instance="a"}': "0x120",
    'incoming_errors_total{error="unknown_ticket",instance="a"}': "0+5x120",
    'incoming_uploads{state="handing_over",instance="a"}': "0 2 0 1x117",
    'incoming_uploads{state="waiting",instance="a"}': "0 2 0 1x30 0x90",
    'incoming_callbacks_total{answer="again",instance="a"}': "7x120",
    'incoming_callbacks_total{answer="done",instance="a"}': "0+3x120",
    'incoming_upload_transitions_total{state="failed",instance="a"}': "2x120",
    'incoming_takeovers_total{what="upload",instance="a"}': "5x120",
    'incoming_takeovers_total{what="janitor",instance="a"}': "0x60 1x60",
    'incoming_database_events_total{event="restored_upload",instance="a"}': "0x120",
    # A restart of the database, which each worker notices.
    'incoming_database_events_total{event="outage",instance="a"}': "2x110 6x10",
    'incoming_chunk_seconds_bucket{le="0.1",instance="a"}': "0+100x120",
    'incoming_chunk_seconds_bucket{le="2.5",instance="a"}': "0+100x120",
    'incoming_chunk_seconds_bucket{le="5.0",instance="a"}': "0+100x120",
    'incoming_chunk_seconds_bucket{le="+Inf",instance="a"}': "0+100x120",
    'incoming_loop_lag_seconds_bucket{le="0.1",instance="a"}': "0+960x120",
    'incoming_loop_lag_seconds_bucket{le="0.25",instance="a"}': "0+960x120",
    'incoming_loop_lag_seconds_bucket{le="1.0",instance="a"}': "0+960x120",
    'incoming_loop_lag_seconds_bucket{le="+Inf",instance="a"}': "0+960x120",
}
ILL = {
    "IncomingDown": {'up{job="incoming",instance="a"}': "1x100 0x20"},
    "IncomingWorkersMissing": {'incoming_workers{instance="a"}': "4x100 3x20"},
    "IncomingDiskFull": {'incoming_free_bytes{instance="a"}': "200000000x120"},
    "IncomingDiskFillsUp": {'incoming_free_bytes{instance="a"}': "500000000000-2500000000x120"},
    "IncomingSpoolFull": {'incoming_spool_held_uploads{instance="a"}': "0x110 3x10"},
    "IncomingStorageFails": {
        'incoming_errors_total{error="storage_failed",instance="a"}': "3x115 4 5 6 7 8",
    },
    "IncomingDefect": {'incoming_errors_total{error="internal_error",instance="a"}': "0x115 1x5"},
    "IncomingAppUnreachable": {
        'incoming_uploads{state="handing_over",instance="a"}': "0x90 3x30",
        'incoming_callbacks_total{answer="again",instance="a"}': "7x90 8+3x30",
    },
    "IncomingHandoversFail": {'incoming_upload_transitions_total{state="failed",instance="a"}': "2x115 3x5"},
    "IncomingAppNeverFinishes": {'incoming_uploads{state="waiting",instance="a"}': "2x120"},
    "IncomingSlow": {
        'incoming_chunk_seconds_bucket{le="2.5",instance="a"}': "0+90x120",
        'incoming_chunk_seconds_bucket{le="0.1",instance="a"}': "0+10x120",
    },
    "IncomingEventLoopLate": {
        'incoming_loop_lag_seconds_bucket{le="0.1",instance="a"}': "0+900x120",
        'incoming_loop_lag_seconds_bucket{le="0.25",instance="a"}': "0+900x120",
    },
    "IncomingInstancesMissing": {'incoming_instance_workers{instance="a",exported_instance="y"}': "2x100 stale"},
    "IncomingDatabaseUnreachable": {
        'up{job="incoming",instance="a"}': "1x117 0x3",
        'up{job="incoming",instance="b"}': "1x117 0x3",
    },
    "IncomingInstanceSilent": {'incoming_takeovers_total{what="upload",instance="a"}': "5x115 8x5"},
    "IncomingDatabaseUnsteady": {'incoming_database_events_total{event="outage",instance="a"}': "2x90 2+1x30"},
    "IncomingCommitsLost": {'incoming_database_events_total{event="restored_upload",instance="a"}': "0x115 4x5"},
    "IncomingAtItsLimit": {'incoming_errors_total{error="too_busy",instance="a"}': "0x60 0+1x60"},
}


def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    assert set(ILL) == set(alerts())
    tests = []
    for fault, changes in ({"": {}} | ILL).items():
        series = [{"series": name, "values": values} for name, values in (WELL | changes).items()]
        fires = [{"labels": f'{{alertname="{fault}"}}', "value": 1}] if fault else []
        query = 'count by (alertname) (ALERTS{alertstate="firing"})'
        expected = {"expr": query, "eval_time": "119m", "exp_samples": fires}
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": [expected]})
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(
        [require_tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- Grafana --------------------------------------------------------------------------------------------------------


def expressions() -> Iterator[str]:
    dashboard = json.loads((CONF / "grafana" / "incoming.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_the_dashboard_uses_existing_metrics(tmp_path: Path) -> None:
    dashboard = json.loads((CONF / "grafana" / "incoming.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    shown = set().union(*(metric_names(expression) for expression in expressions()))
    assert shown <= EXPOSED
    families = {name.removesuffix("_bucket") for name in shown}
    every = {f"{metric.name}_total" for metric in COUNTED} | {metric.name for metric in (*TIMED, *GAUGES)}
    assert families == every - {"incoming_info"}
    places = {
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels), "panels overlap"
    assert max(x for x, _ in places) == 23


def test_the_dashboards_expressions_are_valid(tmp_path: Path) -> None:
    rules = [
        {"record": f"x:{number}", "expr": expression.replace("$instance", ".*")}
        for number, expression in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}))
    command = [require_tool("promtool"), "check", "rules", str(tmp_path / "rules.yml")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


# --- the container --------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (CONF / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)
    text = re.sub(r" *\\\n *", " ", text)
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def test_the_container_has_two_stages_and_no_root() -> None:
    made = instructions()
    stages = [index for index, (name, _) in enumerate(made) if name == "FROM"]
    assert len(stages) == 2
    last = made[stages[1] :]
    [user] = [value for name, value in last if name == "USER"]
    assert user == "10001:10001"
    assert [value for name, value in last if name == "ENTRYPOINT"] == ['["incoming"]']
    assert not [value for name, value in last if name == "RUN" and "pip" in value]
    images = {value.split()[0] for name, value in made if name == "FROM"}
    assert len(images) == 1, "a virtual environment works only with the Python that it was made with"


def test_files_copied_into_the_container_exist_and_are_not_ignored() -> None:
    ignored = (CONF / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    copied = [value for name, value in instructions() if name == "COPY" and "--from" not in value]
    for source in (source for value in copied for source in value.split()[:-1]):
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    needed = re.findall(
        r'^(?:readme|license-files) = \[?"([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert set(needed) <= {source for value in copied for source in value.split()}


def test_the_containers_settings_are_keys() -> None:
    [environment] = [value for name, value in instructions() if name == "ENV"]
    given = dict(pair.split("=", 1) for pair in environment.split() if pair.startswith("INCOMING_"))
    assert str(load_settings([], given).storage_dir) == "/srv/incoming"
    [exposed] = [value for name, value in instructions() if name == "EXPOSE"]
    assert int(exposed) == load_settings([], {}).port


def test_the_containers_health_check_detects_a_server_that_is_down(start_server: StartServer) -> None:
    """With the networks that the file itself suggests."""
    [networks] = re.findall(r"-e INCOMING_BACKEND_NETWORKS=(\S+)", (CONF / "docker" / "Dockerfile").read_text())
    server = start_server("--backend-networks", networks)
    [check] = [value for name, value in instructions() if name == "HEALTHCHECK"]
    program, *arguments = json.loads(check[check.index("[") :])
    assert program == "python"
    python = str(ROOT / ".venv" / "bin" / "python")

    def healthy(port: int) -> bool:
        command = [python, *(argument.replace(":4000", f":{port}") for argument in arguments)]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

    assert healthy(server.port)
    assert not healthy(free_port())


# --- doc/operations.md ----------------------------------------------------------------------------------------------


def test_keys_that_the_page_names_exist() -> None:
    for block in re.findall(r"```sh\n(.*?)```", OPERATIONS, re.DOTALL):
        for key in re.findall(r"^(\w+): ", block, re.MULTILINE):
            assert key in KEYS
    for path in re.findall(r"\bconf/[\w./@-]+\w", OPERATIONS):
        assert (ROOT / path).exists(), path


def test_the_backup_of_a_running_server_can_be_restored(
    start_server: StartServer, app_stub: AppStub, tmp_path: Path
) -> None:
    """Runs the commands of the page, in order, during an upload."""
    server = start_server()
    body = f"signalFinishURL={app_stub.url}".encode()
    with urllib.request.urlopen(f"{server.base_url}/incoming/backend/new_upload", body, timeout=20) as answer:
        ticket = answer.read().decode()
    content = os.urandom(1000)

    def put(address: str, start: int, end: int) -> int:
        request = urllib.request.Request(
            f"{address}/incoming/frontend/upload/{ticket}",
            content[start:end],
            {
                "Content-Range": f"bytes {start}-{end - 1}/{len(content)}",
                "Content-Type": "application/octet-stream",
            },
            method="PUT",
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as answer:
            return answer.code

    assert put(server.base_url, 0, 600) == 308
    copy = tmp_path / "copy"
    again = tmp_path / "again"
    again.mkdir()
    require_tool("sqlite3")
    require_tool("rsync")

    def follow(beginning: str, storage: Path) -> None:
        [commands] = re.findall(rf"```sh\n({beginning}.*?)```", OPERATIONS, re.DOTALL)
        commands = re.sub(r"^(systemctl|chown) .*\n", "", commands, flags=re.MULTILINE)
        commands = commands.replace("/srv/incoming/", f"{storage}/").replace("/var/backups/incoming/", f"{copy}/")
        commands = commands.replace("/var/backups/incoming.sqlite", str(tmp_path / "incoming.sqlite"))
        subprocess.run(["sh", "-e", "-c", commands], check=True, timeout=60)

    follow("umask 077", server.storage_dir)
    assert (tmp_path / "incoming.sqlite").stat().st_mode & 0o077 == 0, "it holds secrets"
    server.kill()
    follow("systemctl stop incoming\nrsync", again)
    restored = start_server(storage_dir=again)
    assert {file.stat().st_mode & 0o777 for file in again.glob("incoming.sqlite*")} == {0o600}
    assert put(restored.base_url, 600, 1000) == 308, "a copied partial file is another file: its bytes are sent again"
    assert put(restored.base_url, 0, 600) == 200
    [callback] = app_stub.wait_for(1, ticket)
    assert Path(callback.params["filename"]).parent.parent == again


def test_a_damaged_database_can_be_recovered_as_documented(server: IncomingServer) -> None:
    require_tool("sqlite3")
    body = b"signalFinishURL=http://127.0.0.1:9/"
    with urllib.request.urlopen(f"{server.base_url}/incoming/backend/new_upload", body, timeout=20) as answer:
        ticket = answer.read().decode()
    server.stop()
    [commands] = re.findall(r"```sh\n( *cd /srv/incoming\n.*?)```", OPERATIONS, re.DOTALL)
    commands = re.sub(r" *(cd|chown) .*\n", "", commands)
    before = (server.storage_dir / "incoming.sqlite").stat().st_ino
    subprocess.run(["sh", "-e", "-c", commands], check=True, timeout=60, cwd=server.storage_dir)
    assert (server.storage_dir / "incoming.sqlite").stat().st_ino != before
    server.start()
    url = f"{server.base_url}/incoming/frontend/upload/{ticket}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert json.loads(answer.read())["state"] == "new"
