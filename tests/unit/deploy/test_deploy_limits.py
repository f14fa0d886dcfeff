"""What may reach the pods, and whether their memory is enough for what they start."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ranges
from node_agent import settings as agent_settings
from scheduler import settings
from tests.unit.deploy import manifests

MIB = 2**20
RANGES = Path(ranges.__file__).with_name("ranges.toml")  # of the installed package
DEPLOYMENT = manifests.one(manifests.DEPLOY / "kustomize" / "deployment.yaml", "Deployment")
DAEMON_SET = manifests.one(manifests.DEPLOY / "agent" / "daemonset.yaml", "DaemonSet")
KUSTOMIZATION = manifests.one(manifests.DEPLOY / "kustomize" / "kustomization.yaml", "Kustomization")
SCHEDULER_POLICY = manifests.one(manifests.DEPLOY / "kustomize" / "network-policy.yaml", "NetworkPolicy")
AGENT_POLICY = manifests.one(
    manifests.DEPLOY / "options" / "agent-network-policy" / "network-policy.yaml", "NetworkPolicy"
)


def bytes_of(quantity: str) -> int:
    """A quantity of the manifests as bytes."""
    units = {"Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]]


def test_the_memory_limit_is_above_all_that_one_container_starts() -> None:
    """Service, gateway and planner together stay below the limit: beyond it the kernel kills the service with them."""
    (service,) = (
        bound["most"]
        for bound in tomllib.loads(RANGES.read_text(encoding="utf-8"))["range"]
        if (bound["measure"], bound["field"], bound.get("where")) == ("sync", "peak_mib", {"nodes": 5000})
    )
    shipped = settings.load()
    needed_mib = service + shipped.api_memory_mib + shipped.planner_workers * shipped.planner_memory_mib
    (extender,) = DEPLOYMENT["spec"]["template"]["spec"]["initContainers"]
    assert bytes_of(extender["resources"]["limits"]["memory"]) >= needed_mib * MIB


@pytest.mark.parametrize(
    ("policy", "workload", "ports"),
    [
        (SCHEDULER_POLICY, DEPLOYMENT, {settings.load().api_port, 10259}),
        (AGENT_POLICY, DAEMON_SET, {agent_settings.Settings.model_fields["metrics_port"].default}),
    ],
    ids=["scheduler", "agent"],
)
def test_only_labelled_namespaces_may_connect(
    policy: dict[str, Any], workload: dict[str, Any], ports: set[int]
) -> None:
    """A policy selects the workload's pods and admits its ports from labelled namespaces, and nothing else."""
    spec = policy["spec"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert policy["metadata"]["namespace"] == workload["metadata"]["namespace"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert spec["policyTypes"] == ["Ingress"]
    (rule,) = spec["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"migsched.io/api-access": "true"}}}]
    assert {port["port"] for port in rule["ports"]} == ports
    opened = {
        port["containerPort"]
        for container in manifests.containers(workload["spec"]["template"]["spec"])
        for port in container.get("ports", ())
    }
    assert opened == ports


def test_the_schedulers_policy_is_installed() -> None:
    """It is part of the kustomization, not of an option."""
    assert "network-policy.yaml" in KUSTOMIZATION["resources"]
