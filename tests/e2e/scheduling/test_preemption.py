"""Preemption with the genuine kube-scheduler: who goes where it asks us, and what it does where only we refused."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from testbed.control_plane.control_plane import ControlPlane
from tests.e2e.scheduling.stack import Document, Stack, bound, eventually, pod

pytestmark = pytest.mark.e2e

PRIORITIES = {"important": 900, "urgent": 1000}
ASKS_FOR_ALL = (1, 38)  # from here on kube-scheduler asks about nodes that only an extender refused
NO_PLACE = "no free 3g.20gb placement on any GPU"


@pytest.fixture
def one_gpu(plane: ControlPlane) -> Iterator[Stack]:
    """One node with one GPU, full: an important pod on one half, two pods of no priority in the way on the other."""
    classes = [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
        }
        for name, value in PRIORITIES.items()
    ]
    plane.apply(classes)
    with closing(Stack(plane, 1, 1)) as stack:
        stack.serve()
        stack.schedule()
        yield stack
        stack.clear()
    plane.kubectl("delete", "nodes,mignodes", "--all")
    plane.kubectl("delete", "priorityclasses", *PRIORITIES)


def with_cpu(document: Document, cpu: int) -> Document:
    """A pod that asks for processors, too; a node has 128."""
    document["spec"]["containers"][0]["resources"]["requests"] = {"cpu": str(cpu)}
    return document


def fill(stack: Stack) -> None:
    """Place the pods one after the other."""
    for document in (
        pod("important-1", "4g.20gb", priorityClassName="important"),
        with_cpu(pod("low-1", "1g.5gb"), 100),
        pod("low-2", "1g.5gb"),
    ):
        stack.create(document)
        eventually(lambda: len(bound(stack.pods())) == len(stack.pods()), f"{document['metadata']['name']} is bound")


def names(stack: Stack) -> list[str]:
    """The pods that are on a node, and not on their way out."""
    return [
        document["metadata"]["name"]
        for document in bound(stack.pods())
        if "deletionTimestamp" not in document["metadata"]
    ]


def why_pending(stack: Stack, name: str) -> str:
    """What kube-scheduler says of a pod."""
    (document,) = (document for document in stack.pods() if document["metadata"]["name"] == name)
    conditions = document.get("status", {}).get("conditions", [])
    return "".join(c.get("message", "") for c in conditions if c["type"] == "PodScheduled")


def version(plane: ControlPlane) -> tuple[int, int]:
    """The version of Kubernetes that runs."""
    answer = json.loads(plane.kubectl("get", "--raw", "/version").stdout)
    return int(answer["major"]), int("".join(char for char in answer["minor"] if char.isdigit()))


def test_victims_that_were_named_are_completed_by_the_least_important(one_gpu: Stack) -> None:
    """kube-scheduler evicts one pod for its processors; for a place the other small one goes, not the important one."""
    fill(one_gpu)
    one_gpu.create(with_cpu(pod("urgent-1", "3g.20gb", priorityClassName="urgent"), 100))
    eventually(lambda: "urgent-1" in names(one_gpu), "the urgent pod has a node")
    assert names(one_gpu) == ["important-1", "urgent-1"]


def test_a_pod_that_only_geometry_keeps_out(one_gpu: Stack) -> None:
    """From 1.38 on the two small pods go for it; before, kube-scheduler does not ask, and nobody is evicted."""
    fill(one_gpu)
    one_gpu.create(pod("urgent-1", "3g.20gb", priorityClassName="urgent"))
    if version(one_gpu.plane) >= ASKS_FOR_ALL:
        eventually(lambda: "urgent-1" in names(one_gpu), "the urgent pod has a node")
        assert names(one_gpu) == ["important-1", "urgent-1"]
    else:
        eventually(lambda: NO_PLACE in why_pending(one_gpu, "urgent-1"), "the urgent pod is refused")
        assert names(one_gpu) == ["important-1", "low-1", "low-2"]
