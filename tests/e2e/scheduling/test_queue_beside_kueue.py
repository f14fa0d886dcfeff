"""Our queue beside the genuine Kueue, on a stock kube-scheduler: Kueue says when a pod may begin, we say where.

Kueue's webhook gives its gate and our policy gives ours; no test takes a gate off.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from allocator.claims import contract
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, GATE
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from testbed.kueue import build as kueue_build
from testbed.kueue.kueue_controller import USER, KueueController
from tests.e2e import policy_gate
from tests.e2e.scheduling.queued_workloads import pod, priority_class
from tests.e2e.scheduling.stack import Document, Stack, bound, eventually, placements

pytestmark = [pytest.mark.e2e, pytest.mark.kueue]

KUEUE_GATES = {"kueue.x-k8s.io/admission", "kueue.x-k8s.io/topology"}
QUEUE = {"kueue.x-k8s.io/queue-name": "slices"}
WHOLE = "nvidia.com/mig-7g.40gb"
HALF = "nvidia.com/mig-3g.20gb"


def quota(whole: int, half: int) -> list[Document]:
    """A flavour, a cluster queue of so many slices of two profiles, and the local queue that leads to it."""
    kind = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    resources = [{"name": name, "nominalQuota": str(most)} for name, most in ((WHOLE, whole), (HALF, half))]
    group = {"coveredResources": [WHOLE, HALF], "flavors": [{"name": "a100", "resources": resources}]}
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [group],
    }
    return [
        {**kind, "kind": "ResourceFlavor", "metadata": {"name": "a100"}},
        {**kind, "kind": "ClusterQueue", "metadata": {"name": "slices"}, "spec": spec},
        {
            **kind,
            "kind": "LocalQueue",
            "metadata": {"name": "slices", "namespace": "default"},
            "spec": {"clusterQueue": "slices"},
        },
    ]


@pytest.fixture(scope="module")
def both(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both queues over two nodes with one GPU each; Kueue's quota is one whole GPU, and three halves."""
    files = kueue_build.ensure_built()
    folder = tmp_path_factory.mktemp("kueue")
    with ControlPlane(folder / "plane", users={USER: []}, binaries=binaries) as plane:
        policy_gate.apply(plane)
        plane.apply([priority_class("low", 1), priority_class("high", 1000)])
        plane.start_scheduler()
        with KueueController(plane, files, folder / "kueue"), closing(Stack(plane, 2, 1)) as made:
            plane.start_controller_manager()  # now: it looks for kinds to collect every 30 s, and Workloads are such
            plane.apply(quota(whole=1, half=3))
            made.serve(queue=True)
            yield made


@pytest.fixture
def stack(both: Stack) -> Iterator[Stack]:
    """The running stack, without workloads.

    Kueue lets the pods of a group go for good when the Workload that it made for them is gone.
    """
    yield both
    both.plane.kubectl("delete", "workloads.kueue.x-k8s.io", "--all", "--wait=false")
    both.clear()


def managed(name: str, profile: str, labels: dict[str, str] | None = None, **more: Any) -> Document:
    """A pod for Kueue's queue, as its author writes it: without a gate."""
    document = pod(name, profile, **more)
    document["metadata"]["labels"] |= QUEUE | (labels or {})
    return document


def gates(document: Document) -> frozenset[str]:
    """The names of a pod's gates."""
    return frozenset(gate["name"] for gate in document["spec"].get("schedulingGates", ()))


def annotations(document: Document) -> dict[str, str]:
    """A pod's annotations, none where it has none."""
    return document["metadata"].get("annotations") or {}


def node_of(stack: Stack, name: str) -> str:
    """The node of a pod, nothing without one."""
    return stack.plane.kubectl("get", "pod", name, "--output=jsonpath={.spec.nodeName}").stdout


def pending(stack: Stack) -> list[Document]:
    """What waits, grouped by code and reason, as `migsched pending` shows it."""
    with urllib.request.urlopen(f"{stack.api_url}/api/v1/pending", timeout=10) as answer:
        found: list[Document] = json.load(answer)["groups"]
        return found


def is_ended_by_kueue(document: Document) -> bool:
    """Whether a pod is on its way out, and says that Kueue evicted it for another."""
    reasons = {condition.get("reason") for condition in document["status"].get("conditions", ())}
    return "deletionTimestamp" in document["metadata"] and "WorkloadEvictedDueToPreempted" in reasons


def place(document: Document) -> str:
    """The GPU and slots that a pod was given."""
    text: str = document["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION]
    return text


def test_kueue_admits_then_we_place_then_kube_scheduler_binds(stack: Stack) -> None:
    """A pod that both gates hold loses Kueue's first, is given its place by us alone, and runs on that node."""
    with stack.recorded() as seen:
        stack.create(managed("job-1", "7g.40gb"))
        eventually(lambda: bool(node_of(stack, "job-1")), "the pod bound")
        states = [one for one in seen if one["metadata"]["name"] == "job-1"]
    steps = list(dict.fromkeys(gates(one) for one in states))
    assert steps[0] == {GATE, *KUEUE_GATES}
    assert steps[-2:] == [{GATE}, frozenset()]
    assert all(GATE in step for step in steps[:-1])
    assert not any(contract.PLACEMENT_ANNOTATION in annotations(one) for one in states if gates(one) & KUEUE_GATES)
    (found,) = stack.pods()
    assert found["metadata"]["finalizers"] == ["kueue.x-k8s.io/managed"]
    assert placements(stack, [found])


def test_beyond_the_quota_a_pod_waits_for_kueue_and_takes_no_room(stack: Stack) -> None:
    """It is told whose gate holds it, a younger pod has the free GPU, and it runs when quota and room are free."""
    stack.create(managed("job-1", "7g.40gb"))
    eventually(lambda: bool(node_of(stack, "job-1")), "the first bound")
    stack.create(managed("job-2", "7g.40gb"))
    eventually(lambda: "Kueue" in stack.explain("default/job-2")["reason"], "told whose gate it is")
    stack.create(pod("free-1", "7g.40gb"))
    eventually(lambda: bool(node_of(stack, "free-1")), "the other GPU goes to a pod without a quota")
    (second,) = [one for one in stack.pods() if one["metadata"]["name"] == "job-2"]
    assert gates(second) == {GATE, *KUEUE_GATES}
    assert stack.explain("default/job-2")["code"] == "gated"
    assert {one["code"]: "Kueue" in one["reason"] for one in pending(stack)} == {"gated": True}
    stack.delete("job-1")
    eventually(lambda: bool(node_of(stack, "job-2")), "the second bound")
    placements(stack, stack.pods())


def test_what_kueue_evicts_gives_its_place_to_the_next(stack: Stack) -> None:
    """For a pod of higher priority Kueue ends one of lower priority; its place is free then, and is the next one's."""
    stack.create(pod("free-1", "7g.40gb"))
    eventually(lambda: bool(node_of(stack, "free-1")), "one GPU is not free")
    stack.create(managed("low-1", "7g.40gb", priorityClassName="low"))
    eventually(lambda: bool(node_of(stack, "low-1")), "the lower one bound")
    (low,) = stack.pods("--selector=app=low")
    with stack.recorded() as seen:
        stack.create(managed("high-1", "7g.40gb", priorityClassName="high"))
        eventually(lambda: bool(node_of(stack, "high-1")), "the higher one bound")
    ending = [one["metadata"]["name"] == "low-1" and is_ended_by_kueue(one) for one in seen]
    assert any(ending)
    before = [one for one in seen[: ending.index(True)] if one["metadata"]["name"] == "high-1"]
    assert before
    assert all(gates(one) & KUEUE_GATES for one in before)
    assert {one["metadata"]["name"] for one in stack.pods()} == {"free-1", "high-1"}
    (high,) = stack.pods("--selector=app=high")
    assert place(high) == place(low)


def test_a_pod_group_of_kueue_that_is_our_gang_is_placed_whole(stack: Stack) -> None:
    """Kueue admits all of the group or none, and we place all of it or none."""
    labels = {"kueue.x-k8s.io/pod-group-name": "train"}
    says = {"kueue.x-k8s.io/pod-group-total-count": "3", GANG_ANNOTATION: "train", GANG_SIZE_ANNOTATION: "3"}
    stack.create(pod("free-1", "7g.40gb"))
    eventually(lambda: bool(node_of(stack, "free-1")), "one GPU is not free")
    stack.create(*(managed(f"train-{number}", "3g.20gb", labels, annotations=says) for number in range(3)))
    eventually(
        lambda: all(gates(one) == {GATE} for one in stack.pods("--selector=app=train")), "Kueue admits all of it"
    )
    eventually(lambda: "for all of it at once" in stack.explain("default/train-0")["reason"], "told why it waits")
    assert not bound(stack.pods("--selector=app=train"))
    stack.delete("free-1")
    eventually(lambda: len(bound(stack.pods("--selector=app=train"))) == 3, "the gang bound")
    placements(stack, stack.pods())
