"""The files of deployments/: what can be checked of them without Docker, a cluster or a server."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deployments"
MANIFESTS = sorted((FILES / "kubernetes").glob("*.yaml"))
PINNED = re.compile(r"[\w./-]+:v?\d+(\.\d+)+(-[\w.]+)?")


def prefect() -> list[dict[str, Any]]:
    """The deployments of prefect.yaml."""
    return list(yaml.safe_load((FILES / "prefect.yaml").read_text())["deployments"])


@pytest.mark.parametrize("deployment", prefect(), ids=lambda d: d["name"])
def test_a_deployment_is_whole(deployment: dict[str, Any]) -> None:
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(import_module(module), name)
    assert flow.name == deployment["name"]
    assert deployment["description"]
    assert "crowdselect" in deployment["tags"]
    assert deployment["concurrency_limit"]["limit"] >= 1
    job = deployment["work_pool"]["job_variables"]
    assert job["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    for trigger in deployment.get("triggers", []):
        made = DeploymentEventTrigger.model_validate(trigger)
        assert made.expect, "or it would fire on every event"


def test_a_fresh_deploy_asks_no_model() -> None:
    active = [d["name"] for d in prefect()
              if any(s.get("active", True) for s in d["schedules"])]  # fmt: skip
    assert active == ["sweep"]


def test_the_compose_file_keeps_to_loopback_and_holds_no_secret() -> None:
    compose = yaml.safe_load((FILES / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "prefect", "store", "deploy", "worker"}
    for name, service in services.items():
        assert PINNED.fullmatch(service["image"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for other, condition in service.get("depends_on", {}).items():
            assert other in services
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[other], other
        for mount in service.get("volumes", []):
            named = mount.split(":")[0]
            assert named.startswith("${") or named in compose["volumes"], mount
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|CONNECTION", variable):
                assert "${CS_" in value, f"{name}: {variable} stands in clear text"


def test_compose_asks_for_no_name_that_our_commands_would_take_for_a_key() -> None:
    for file in (FILES / "compose.yaml", ROOT / "docs" / "compose.md"):
        names = set(re.findall(r"\b[A-Z]+_[A-Z0-9_]+(?==|:[?-]|\})", file.read_text()))
        assert {"CS_DB_PASSWORD", "CS_S3_KEY", "CS_S3_SECRET"} <= names
        assert not [n for n in names if n.startswith("CROWDSELECT_")]


def test_the_servers_user_can_write_what_prefect_writes() -> None:
    compose = yaml.safe_load((FILES / "compose.yaml").read_text())["services"]["prefect"]
    manifests = yaml.safe_load_all((FILES / "kubernetes" / "prefect.yaml").read_text())
    pod = next(m for m in manifests if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["fsGroup"] == 10001, "or the volume would be root's"
    [container] = pod["containers"]
    assert [m["mountPath"] for m in container["volumeMounts"]] == ["/state"]
    assert [v.split(":")[1] for v in compose["volumes"]] == ["/state"]
    cluster = {v["name"]: v.get("value") for v in container["env"]}
    for environment in (compose["environment"], cluster):
        assert environment["PREFECT_HOME"] == "/state"
        assert environment["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith("/state/")
    lines = (FILES / "Dockerfile").read_text().splitlines()
    made = lines.index("RUN mkdir /state && chown crowdselect /state")
    assert made < lines.index("USER 10001")


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda f: f.name)
def test_a_manifest_is_whole_and_holds_no_secret(file: Path) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        assert manifest["apiVersion"]
        assert manifest["metadata"]["name"]
        if manifest["kind"] not in ("Deployment", "Job"):
            assert manifest["kind"] in ("Service", "PersistentVolumeClaim")
            continue
        template = manifest["spec"]["template"]
        if manifest["kind"] == "Deployment":
            labels = manifest["spec"]["selector"]["matchLabels"]
            assert labels.items() <= template["metadata"]["labels"].items()
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        volumes = {v["name"] for v in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert PINNED.fullmatch(container["image"])
            assert container["resources"]["limits"]["memory"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert {m["name"] for m in container.get("volumeMounts", [])} <= volumes
            if manifest["kind"] == "Deployment":
                assert container["readinessProbe"]
                assert container["livenessProbe"]
            for variable in container["env"]:
                if re.search("SECRET|KEY|CONNECTION", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_the_services_of_the_cluster_fit_together() -> None:
    made = [m for f in MANIFESTS for m in yaml.safe_load_all(f.read_text())]
    services = {m["metadata"]["name"]: m for m in made if m["kind"] == "Service"}
    claims = {m["metadata"]["name"] for m in made if m["kind"] == "PersistentVolumeClaim"}
    pods = [m["spec"]["template"] for m in made if m["kind"] in ("Deployment", "Job")]
    for service in services.values():
        wanted = service["spec"]["selector"].items()
        [pod] = [p for p in pods if wanted <= p["metadata"]["labels"].items()]
        ports = {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports
    for pod in pods:
        for volume in pod["spec"].get("volumes", []):
            assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in pod["spec"]["containers"]:
            for variable in container["env"]:
                if variable["name"] == "PREFECT_API_URL":
                    assert variable["value"] == "http://prefect:4200/api"
                    assert "prefect" in services
