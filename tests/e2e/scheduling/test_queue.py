"""The queue on a stock kube-scheduler: pods that name no scheduler wait at our gate and are bound where we pin them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, GATE
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e.scheduling.conftest import GPUS, NODES
from tests.e2e.scheduling.stack import DEPLOY, Stack, bound, eventually, placements
from tests.e2e.scheduling.stack import pod as pod_of_migsched

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def plane(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the gate, and kube-scheduler in its default configuration, without an extender."""
    with ControlPlane(tmp_path_factory.mktemp("queue"), binaries=binaries) as started:
        started.start_controller_manager()
        started.apply(DEPLOY / "options" / "queue" / "gate.yaml")
        started.start_scheduler()
        yield started


@pytest.fixture(scope="module")
def queueing(plane: ControlPlane) -> Iterator[Stack]:
    """5 nodes × 8 A100-40GB and our queue."""
    with closing(Stack(plane, NODES, GPUS)) as stack:
        stack.serve(queue=True)
        yield stack


@pytest.fixture
def stack(queueing: Stack) -> Iterator[Stack]:
    """The running stack, without workloads."""
    yield queueing
    queueing.clear()


def pod(name: str, *profiles: str, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that names no scheduler."""
    document = pod_of_migsched(name, *profiles, **spec)
    del document["spec"]["schedulerName"]
    document["metadata"]["annotations"] = annotations or {}
    return document


def test_a_burst_fills_the_fleet_to_the_last_slot(stack: Stack) -> None:
    """280 small pods fill 5 nodes × 8 GPUs, seven to a GPU; the next waits, and is placed on a deletion."""
    slots = NODES * GPUS * 7
    stack.create(*(pod(f"small-{n}", "1g.5gb") for n in range(slots)))
    eventually(lambda: len(bound(stack.pods())) == slots, f"{slots} pods bound")
    held = placements(stack, stack.pods())
    assert {gpu: len(there) for gpu, there in held.items()} == {g.uuid: 7 for n in stack.fleet for g in n.gpus}
    stack.create(pod("late-1", "1g.5gb"))
    eventually(lambda: "5 full" in stack.explain("default/late-1")["reason"], "a reason")
    (late,) = stack.pods("--selector=app=late")
    assert late["spec"]["schedulingGates"] == [{"name": GATE}]
    stack.delete("small-17")
    eventually(lambda: bool(bound(stack.pods("--selector=app=late"))), "the late pod bound", seconds=3)
    placements(stack, stack.pods())


def test_a_gang_is_placed_whole_or_not_at_all(stack: Stack) -> None:
    """A gang waits for its last pod, then all are bound; one that does not fit holds nothing back from others."""

    def member(gang: str, number: int, size: int, profile: str) -> dict[str, Any]:
        return pod(f"{gang}-{number}", profile, annotations={GANG_ANNOTATION: gang, GANG_SIZE_ANNOTATION: str(size)})

    stack.create(*(member("small", n, 8, "7g.40gb") for n in range(7)))
    eventually(lambda: stack.explain("default/small-0")["code"] == "gang_incomplete", "told that one is missing")
    assert not bound(stack.pods())
    stack.create(member("small", 7, 8, "7g.40gb"))
    eventually(lambda: len(bound(stack.pods("--selector=app=small"))) == 8, "the gang bound")
    room = NODES * GPUS - 8
    stack.create(*(member("large", n, room + 1, "7g.40gb") for n in range(room + 1)))
    stack.create(*(pod(f"single-{n}", "7g.40gb") for n in range(room)))
    eventually(lambda: len(bound(stack.pods("--selector=app=single"))) == room, "the singles bound")
    assert not bound(stack.pods("--selector=app=large"))
    placements(stack, stack.pods())


def test_what_kubernetes_asks_of_a_node_is_kept(stack: Stack) -> None:
    """A pod with a node selector and a preferred affinity lands on the node that it selects, with both kept."""
    node = stack.fleet[3].name
    stack.plane.kubectl("label", "node", node, "rack=r3")
    prefers = {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefers]}}
    stack.create(pod("picky-1", "1g.5gb", nodeSelector={"rack": "r3"}, affinity=affinity))
    eventually(lambda: bool(bound(stack.pods("--selector=app=picky"))), "the pod bound")
    (picky,) = stack.pods("--selector=app=picky")
    assert picky["spec"]["nodeName"] == node
    assert picky["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] == [prefers]


def test_a_bound_volume_decides_the_node(stack: Stack) -> None:
    """A pod is pinned where the local volume lies that its claim is bound to."""
    node = stack.fleet[2].name
    stack.plane.kubectl("label", "node", node, "disk=d2")
    here = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["d2"]}]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "local-2"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "local": {"path": "/data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        # As bound: the testbed runs no controller that binds claims.
        "metadata": {"name": "data", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "volumeName": "local-2",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    data = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    stack.create(volume, claim, pod("stateful-1", "1g.5gb", volumes=[data]))
    eventually(lambda: bool(bound(stack.pods("--selector=app=stateful"))), "the pod bound")
    (stateful,) = stack.pods("--selector=app=stateful")
    assert stateful["spec"]["nodeName"] == node
    stack.plane.kubectl("delete", "pvc/data", "pv/local-2", "--wait=false")


def test_a_pod_with_a_gate_of_somebody_else_waits_for_that_one_first(stack: Stack) -> None:
    """Kueue's and Grove's gates come first: the pod is ours to place when ours is the only gate left."""
    stack.create(pod("foreign-1", "1g.5gb", schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]))
    eventually(lambda: stack.explain("default/foreign-1")["code"] == "gated", "told whose gate it is")
    stack.plane.kubectl(
        "patch", "pod", "foreign-1", "--type=strategic",
        '--patch={"spec":{"schedulingGates":[{"$patch":"delete","name":"kueue.x-k8s.io/admission"}]}}',
    )  # fmt: skip
    eventually(lambda: bool(bound(stack.pods("--selector=app=foreign"))), "the pod bound")


def test_a_pod_that_asks_for_no_slice_is_let_go(stack: Stack) -> None:
    """A pod that names a slice resource with quantity 0 gets no gate, and loses one that its author gave it."""
    document = pod("zero-1")
    document["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/mig-1g.5gb": "0"}
    gated = {**document, "metadata": {"name": "zero-2", "labels": {"app": "zero"}}}
    gated["spec"] = {**document["spec"], "schedulingGates": [{"name": GATE}]}
    stack.create(document, gated)
    eventually(lambda: len(bound(stack.pods("--selector=app=zero"))) == 2, "both pods bound")


def test_a_pod_that_kube_scheduler_refuses_gives_its_place_back_and_comes_anew(stack: Stack) -> None:
    """A Deployment's pod pinned to a node that takes it no more is deleted, and its successor is bound elsewhere."""
    replicas: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "moved"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "moved"}},
            "template": {"metadata": {"labels": {"app": "moved"}}, "spec": {}},
        },
    }
    of_pod = pod("moved-1", "1g.5gb")["spec"]
    term = {"labelSelector": {"matchLabels": {"keeps": "away"}}, "topologyKey": "kubernetes.io/hostname"}
    of_pod["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    replicas["spec"]["template"]["spec"] = of_pod
    first = stack.fleet[0].name
    blocker = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "blocker", "labels": {"keeps": "away"}},
        "spec": {"nodeName": first, "containers": [{"name": "main", "image": "none"}]},
    }
    for node in stack.fleet:
        stack.plane.kubectl("label", "node", node.name, f"kubernetes.io/hostname={node.name}", "--overwrite")
    stack.create(blocker)
    stack.create(replicas)
    eventually(lambda: bool(bound(stack.pods("--selector=app=moved"))), "the successor bound")
    (moved,) = bound(stack.pods("--selector=app=moved"))
    assert moved["spec"]["nodeName"] != first
    placements(stack, stack.pods())
