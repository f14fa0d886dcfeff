"""Workloads of the tests of the queue: pods that name no scheduler, ReplicaSets of them, priorities, kinds of gangs."""

from pathlib import Path
from typing import Any

from tests.e2e.scheduling.stack import Document
from tests.e2e.scheduling.stack import pod as pod_of_migsched

POD_GROUPS = Path(__file__).parent / "pod_groups.yaml"
POD_GANGS = Path(__file__).parent / "pod_gangs.yaml"
GROVE_GATE = "grove.io/podgang-pending-creation"


def pod(name: str, *profiles: str, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that names no scheduler."""
    document = pod_of_migsched(name, *profiles, **spec)
    del document["spec"]["schedulerName"]
    document["metadata"]["annotations"] = annotations or {}
    return document


def replicas(name: str, number: int, profile: str, **spec: Any) -> Document:
    """A ReplicaSet of pods that ask for one slice each."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod("x-1", profile, **spec)["spec"]}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name},
        "spec": {"replicas": number, "selector": selector, "template": template},
    }


def priority_class(name: str, value: int, policy: str = "PreemptLowerPriority") -> Document:
    """A PriorityClass; `policy` says whether its pods preempt others."""
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    return {**kind, "metadata": {"name": name}, "value": value, "preemptionPolicy": policy}
