"""conf/helm: values and schema, what it renders, and that it agrees with the server and with the API's schemas.

Without helm the tests read what tools/render_chart.py rendered; `make wide` installs helm and renders anew.
"""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

import incoming
from incoming.handlers.routes import PREFIX, ROUTES
from incoming.settings.settings import KEYS, load_settings
from incoming.storage.open import prepare
from tests.support.tools import ROOT, unavailable
from tools.render_chart import CHART, KUBERNETES, SETS, origin, render, result_of

NAMES = ("single", "cluster", "unusual")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALID = jsonschema_rs.validator_for(SCHEMA)
OWN = {
    *("address", "port", "storage_dir", "database", "database_direct", "instance"),
    *("backend_token", "backend_networks", "trusted_proxies"),
}
"""Options that the chart sets by values of their own, or that a pod has its own value of."""

PAGE = (ROOT / "doc" / "kubernetes.md").read_text()

Manifest = dict[str, Any]


def values_of(name: str) -> Path:
    return SETS / f"{name}.values.yaml"


def rendered(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all(result_of(values_of(name)).read_text()))


def one(name: str, *kinds: str) -> Manifest:
    [manifest] = (manifest for manifest in rendered(name) if manifest["kind"] in kinds)
    return manifest


def pod_of(name: str) -> Manifest:
    pod: Manifest = one(name, "Deployment", "StatefulSet")["spec"]["template"]["spec"]
    return pod


def merged(**given: object) -> dict[str, Any]:
    """The chart's values with others for some keys, as helm merges them."""
    return {
        key: {**value, **given[key]} if isinstance(value, dict) and key in given else given.get(key, value)  # type: ignore[dict-item]
        for key, value in {**VALUES, **{key: None for key in given if key not in VALUES}}.items()
    }


def test_every_set_of_values_has_its_result() -> None:
    assert {path.name for path in SETS.iterdir()} == {
        f"{name}{end}" for name in NAMES for end in (".yaml", ".values.yaml")
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_was_rendered_is_of_this_chart(name: str) -> None:
    first = result_of(values_of(name)).read_text().splitlines(keepends=True)[0]
    assert first == origin(values_of(name)), "run tools/render_chart.py"


@pytest.mark.wide
@pytest.mark.parametrize("name", NAMES)
def test_helm_renders_the_same(name: str) -> None:
    helm = ROOT / ".wide" / "helm"
    if not helm.exists():
        unavailable("helm is not installed: run make wide")
    assert render(str(helm), values_of(name)) == result_of(values_of(name)).read_text()


@pytest.mark.wide
def test_helm_refuses_what_the_schema_refuses() -> None:
    helm = ROOT / ".wide" / "helm"
    if not helm.exists():
        unavailable("helm is not installed: run make wide")
    command = [str(helm), "template", "x", str(CHART), "--kube-version", KUBERNETES, "--set", "replicas=2"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "at '/replicas': value must be 1" in refused.stderr


@pytest.mark.parametrize("name", NAMES)
def test_manifests_are_those_of_the_api(name: str) -> None:
    kinds = [manifest["kind"] for manifest in rendered(name)]
    for manifest in rendered(name):
        if manifest["kind"] != "ServiceMonitor":  # of the Prometheus Operator, not of Kubernetes
            kubernetes_validate.validate(manifest, "1.31", strict=True)
    assert ("StatefulSet" in kinds) is (name == "single")
    assert ("Deployment" in kinds) is (name != "single")
    assert (
        ("PodDisruptionBudget" in kinds) is ("ServiceMonitor" in kinds) is ("Ingress" in kinds) is (name == "cluster")
    )
    assert ("PersistentVolumeClaim" in kinds) is (name != "unusual")


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_the_pods_are_accepted(name: str, tmp_path: Path) -> None:
    [container] = pod_of(name)["containers"]
    secret = {
        "INCOMING_DATABASE": "postgresql://incoming:x@database/uploads",
        "INCOMING_BACKEND_TOKEN": "0123456789-secret",
    }
    given = {each["name"]: each.get("value", secret.get(each["name"], "")) for each in container["env"]}
    settings = load_settings([], given)
    assert settings.port == container["ports"][0]["containerPort"]
    assert str(settings.storage_dir) == container["volumeMounts"][0]["mountPath"] == "/srv/incoming"
    assert settings.backend_token
    assert bool(settings.database) is (name != "single")
    prepare(replace(settings, storage_dir=tmp_path))
    assert pod_of(name)["terminationGracePeriodSeconds"] > settings.drain_timeout + 10
    if name == "unusual":
        assert (settings.max_tickets, settings.finish_requires_secret) == (100_000_000, True)


@pytest.mark.parametrize("name", NAMES)
def test_probes_ask_for_what_is_open_to_them(name: str) -> None:
    [container] = pod_of(name)["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert any(re.fullmatch(PREFIX + route, path) for route, _ in ROUTES), path
        assert path == "/incoming/health/live", "probes come from addresses that are not in backend_networks"
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 1800


@pytest.mark.parametrize("name", NAMES)
def test_pods_are_confined(name: str) -> None:
    pod = pod_of(name)
    [container] = pod["containers"]
    [user] = re.findall(r"^USER (\d+):", (ROOT / "conf" / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == int(user)
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", NAMES)
def test_labels_ports_and_claims_belong_together(name: str) -> None:
    workload, service = one(name, "Deployment", "StatefulSet"), one(name, "Service")
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    selectors = [workload["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    if name == "cluster":
        budget, monitor = one(name, "PodDisruptionBudget"), one(name, "ServiceMonitor")
        selectors += [budget["spec"]["selector"]["matchLabels"], monitor["spec"]["selector"]["matchLabels"]]
        assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
        alerts = (ROOT / "conf" / "prometheus" / "incoming-alerts.yml").read_text()
        assert f'job="{service["metadata"]["labels"][monitor["spec"]["jobLabel"]]}"' in alerts
    assert all(selector.items() <= labels for selector in selectors)
    claim = pod_of(name)["volumes"][0]["persistentVolumeClaim"]["claimName"]
    if name == "unusual":
        assert claim == "uploads"
        return
    made = one(name, "PersistentVolumeClaim")
    assert made["metadata"]["name"] == claim
    assert made["spec"]["accessModes"] == ["ReadWriteOnce" if name == "single" else "ReadWriteMany"]
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "uploads outlive the release"


def test_sqlite_never_has_two_pods() -> None:
    assert one("single", "StatefulSet")["spec"]["replicas"] == 1
    assert VALID.is_valid(VALUES)
    assert not VALID.is_valid(merged(replicas=2))
    assert VALID.is_valid(merged(replicas=2, database="postgresql"))


def test_only_what_browsers_need_is_exposed() -> None:
    ingress = one("cluster", "Ingress")
    [rule] = ingress["spec"]["rules"]
    paths = [path["path"] for path in rule["http"]["paths"]]
    assert paths == ["/incoming/frontend/", "/incoming/0.1/frontend/"]
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
    assert annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"] == "off"
    assert ingress["spec"]["tls"] == [{"hosts": ["uploads.example.org"], "secretName": "uploads-tls"}]


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"databse": "sqlite"}, ""),
        ({"settings": {"worker": 2}}, "settings"),
        ({"secret": "A_b"}, "secret"),
        ({"ingress": {"enabled": True}}, "ingress/host"),
        ({"backendNetworks": ["pods"]}, "backendNetworks/0"),
        ({"backendNetworks": []}, "backendNetworks"),
        ({"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds"),
        ({"persistence": {"size": "much"}}, "persistence/size"),
        ({"extraEnv": [{"value": "x"}]}, "extraEnv/0"),
    ],
)
def test_a_wrong_value_is_refused_and_named(given: dict[str, object], at: str) -> None:
    errors = list(VALID.iter_errors(merged(**given)))
    assert ["/".join(map(str, error.instance_path)) for error in errors] == [at]


def test_each_value_is_in_the_schema_and_the_other_way_round() -> None:
    assert set(SCHEMA["properties"]) == {*VALUES, "global"}
    for name, value in VALUES.items():
        if "properties" in SCHEMA["properties"][name] and name != "settings":
            assert set(SCHEMA["properties"][name]["properties"]) == set(value), name
    assert set(SCHEMA["properties"]["settings"]["properties"]) == set(KEYS) - OWN


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == incoming.__version__


def test_the_page_says_what_the_chart_takes_and_answers() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    pod, values = (yaml.safe_load(block) for block in blocks)
    assert VALID.is_valid(merged(**values))
    assert pod["volumes"] == [volume for volume in pod_of("single")["volumes"] if volume["name"] == "uploads"]
    [container] = pod_of("single")["containers"]
    assert pod["volumeMounts"] == [mount for mount in container["volumeMounts"] if mount["name"] == "uploads"]
    options = re.findall(r"--set '?(\w+)", PAGE)
    assert options
    assert set(options) <= set(VALUES)
    assert one("single", "Service")["metadata"]["name"] == "incoming", "http://incoming.uploads:4000"
