"""What the deployment files say holds against the schemas, and against the program."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.doorbell import Queue
from service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OBJECTS: list[dict[str, Any]] = [
    each
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each
]
PODS = {
    f"{each['kind']} {each['metadata']['name']}": each["spec"]["template"]["spec"]
    for each in OBJECTS
    if each["kind"] in ("Deployment", "Job")
}
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"].startswith("paperround")}


def test_the_compose_file_holds_against_the_compose_specification() -> None:
    vendored = resources.files("check_jsonschema.builtin_schemas") / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"web": {"imagination": "x"}}}, schema)


@pytest.mark.parametrize("found", OBJECTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_every_object_holds_against_the_schema_of_kubernetes(found: dict[str, Any]) -> None:
    kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_would_refuse_a_misspelt_field() -> None:
    broken = json.loads(json.dumps(next(each for each in OBJECTS if each["kind"] == "Deployment")))
    broken["spec"]["template"]["spec"]["containers"][0]["resourses"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_every_image_of_others_is_pinned_by_digest() -> None:
    built_on = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    named = {each["image"] for name, each in COMPOSE["services"].items() if name not in OURS} | set(built_on)
    assert len(named) >= 5
    assert [each for each in named if not re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", each)] == []


@pytest.mark.parametrize("name", OURS)
def test_our_containers_in_compose_are_confined(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.search(r"^USER paperround$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_scale_profile_has_several_sites_planners_and_senders_behind_the_pooler() -> None:
    scaled = {name: each for name, each in COMPOSE["services"].items() if each.get("profiles") == ["scale"]}
    more = {tuple(each["command"])[:3]: each for name, each in scaled.items() if name != "pgbouncer"}
    assert {("web",), ("worker", "--queue", "plan"), ("worker", "--queue", "send")} == set(more)
    for each in more.values():
        assert each["deploy"]["replicas"] >= 2
        assert "@pgbouncer/" in each["environment"]["PAPERROUND_DATABASE_URL"]
    assert "@postgres/" in COMPOSE["services"]["migrate"]["environment"]["PAPERROUND_DATABASE_URL"]


@pytest.mark.parametrize("name", PODS)
def test_pods_keep_to_the_restricted_standard(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert name.startswith("Job") or "livenessProbe" in container
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}


def test_there_is_a_deployment_for_every_queue_and_process_and_one_schedule() -> None:
    commands = [tuple(pod["containers"][0]["args"]) for pod in PODS.values()]
    queues = [command[2] for command in commands if command[:2] == ("worker", "--queue")]
    assert sorted(queues) == sorted(queue.value for queue in Queue)
    assert {command[0] for command in commands} == {"web", "worker", "beat", "inbound", "migrate"}
    (beat,) = (each for each in OBJECTS if each["metadata"]["name"] == "paperround-beat")
    assert beat["spec"]["replicas"] == 1
    assert beat["spec"]["strategy"]["type"] == "Recreate"


def test_senders_are_given_the_time_of_a_lease_to_end() -> None:
    grace = PODS["Deployment paperround-send"]["terminationGracePeriodSeconds"]
    assert grace > Settings.model_fields["lease_seconds"].default


def test_every_setting_and_secret_that_is_named_exists() -> None:
    text = "".join(path.read_text() for path in (ROOT / "deploy").rglob("*.yaml"))
    known = {name.upper() for name in Settings.model_fields} | {"FROM"}
    assert set(re.findall(r"PAPERROUND_([A-Z_]+)", text)) <= known
    made = set(re.findall(r"create secret generic ([\w-]+)", text))
    used = {
        source["secretRef"]["name"]
        for pod in PODS.values()
        for source in pod["containers"][0]["envFrom"]
        if "secretRef" in source
    }
    assert used == made


def test_policies_reach_every_pod_and_forbid_what_is_not_named() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"}
    assert policies["nothing-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    components = {each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
                  for each in OBJECTS if each["kind"] in ("Deployment", "Job")}  # fmt: skip
    for spec in policies.values():
        selector = spec["podSelector"]
        named = {selector.get("matchLabels", {}).get("app.kubernetes.io/component", "web")}
        for expression in selector.get("matchExpressions", ()):
            named |= set(expression["values"])
        assert named <= components
