"""conf/docker and conf/kubernetes agree with the server: settings, ports, paths, times; and with the API's schemas."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from incoming.handlers.routes import PREFIX, ROUTES
from incoming.settings.settings import Settings, load_settings
from incoming.storage.open import prepare
from tests.support.tools import ROOT

CONF = ROOT / "conf"
SINGLE, CLUSTER = (
    yaml.safe_load((CONF / "docker" / name).read_text()) for name in ("compose.yaml", "compose-cluster.yaml")
)
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((CONF / "kubernetes" / "incoming.yaml").read_text()))
[DEPLOYMENT] = (manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
DSN = "postgresql://incoming:secret@database/uploads"


def servers() -> Iterator[dict[str, Any]]:
    """The services of both Compose files that run the server."""
    for file in (SINGLE, CLUSTER):
        yield from (service for service in file["services"].values() if service["image"] == "incoming")


def loaded(given: dict[str, str]) -> Settings:
    """The settings, with a value for each variable that the operator sets."""
    filled = {name: re.sub(r"\$\{(\w+):\?[^}]*\}", "0123456789-secret", value) for name, value in given.items()}
    return load_settings([], {**filled, "INCOMING_STORAGE_DIR": "/srv/incoming"})


# --- Compose --------------------------------------------------------------------------------------------------------


def test_settings_of_the_compose_files_are_accepted(tmp_path: Path) -> None:
    found = [loaded(service["environment"]) for service in servers()]
    for settings in found:
        prepare(replace(settings, storage_dir=tmp_path))
    assert len(found) == 3
    assert {bool(one.database) for one in found[1:]} == {True}
    assert [one.instance for one in found[1:]] == ["a", "b"]
    assert all(one.backend_token for one in found)


def test_containers_have_the_time_to_drain_and_one_volume() -> None:
    for service in servers():
        assert int(service["stop_grace_period"].removesuffix("s")) > load_settings([], {}).drain_timeout + 10
        assert service["volumes"] == ["uploads:/srv/incoming"]
        assert (CONF / "docker" / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).exists()
    assert "uploads:/srv/incoming" in CLUSTER["services"]["app"]["volumes"]


@pytest.mark.parametrize("file", [SINGLE, CLUSTER])
def test_nothing_is_open_to_the_internet(file: dict[str, Any]) -> None:
    for service in file["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("file", [SINGLE, CLUSTER])
def test_what_is_mounted_and_depended_on_exists(file: dict[str, Any]) -> None:
    for service in file["services"].values():
        assert set(service.get("depends_on", ())) <= set(file["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (CONF / "docker" / source).exists() if source.startswith(".") else source in file["volumes"]


def test_nginx_of_the_cluster_forwards_to_both_instances_as_in_production() -> None:
    cluster, production = ((CONF / name).read_text() for name in ("docker/nginx-cluster.conf", "nginx-instances.conf"))
    targets = re.findall(r"server (\S+):(\d+) max_fails", cluster)
    assert targets == [("incoming-a", "4000"), ("incoming-b", "4000")]
    kept = set(re.findall(r"^ +(?:proxy|client|hash|zone|map|\"~)[^;]+;", production, re.MULTILINE))
    missing = {line.strip() for line in kept} - {line.strip() for line in cluster.splitlines()}
    assert {line.split()[0] for line in missing} <= {
        "proxy_set_header",
        '"~^(?<incoming_begin>[^?]*/(upload|tus)/[^/?]{0,8})"',
        '"~^(?<incoming_path>[^?]*)"',
    }


def test_the_app_of_the_cluster_is_started_with_its_own_options() -> None:
    [command] = [part for part in CLUSTER["services"]["app"]["command"] if "backend.py" in part]
    source = (ROOT / "examples" / "webapp" / "command_line.py").read_text()
    used = set(re.findall(r"--([a-z-]+)", command))
    assert used
    assert {name.replace("-", "_") for name in used} <= set(re.findall(r'"--(\w+)"', source))
    assert (ROOT / "examples" / re.findall(r"python (\S+backend\.py)", command)[0]).exists()


# --- Kubernetes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: str(manifest["kind"]))
def test_manifests_are_those_of_the_api(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_a_wrong_manifest_would_be_noticed() -> None:
    wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


def test_settings_of_the_pods_are_accepted(tmp_path: Path) -> None:
    given = {one["name"]: one.get("value", "") for one in CONTAINER["env"]}
    settings = loaded({**given, "INCOMING_DATABASE": DSN, "INCOMING_BACKEND_TOKEN": "0123456789-secret"})
    prepare(replace(settings, storage_dir=tmp_path))
    assert (settings.workers, settings.port) == (2, CONTAINER["ports"][0]["containerPort"])
    assert CONTAINER["volumeMounts"][0]["mountPath"] == str(settings.storage_dir)
    assert POD["terminationGracePeriodSeconds"] > settings.drain_timeout + 10


def test_probes_ask_for_what_is_open_to_them() -> None:
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = CONTAINER[name]["httpGet"]["path"]
        assert any(re.fullmatch(PREFIX + route, path) for route, _ in ROUTES), path
        assert path == "/incoming/health/live", "probes come from addresses that are not in backend_networks"
    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


def test_labels_ports_and_claims_belong_together() -> None:
    by_kind = {manifest["kind"]: manifest for manifest in MANIFESTS}
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert by_kind["Service"]["spec"]["selector"] == labels
    assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert by_kind["PodDisruptionBudget"]["spec"]["minAvailable"] < DEPLOYMENT["spec"]["replicas"]
    assert (
        POD["volumes"][0]["persistentVolumeClaim"]["claimName"] == by_kind["PersistentVolumeClaim"]["metadata"]["name"]
    )
    assert by_kind["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    [user] = re.findall(r"^USER (\d+):", (CONF / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert POD["securityContext"]["runAsUser"] == int(user)
