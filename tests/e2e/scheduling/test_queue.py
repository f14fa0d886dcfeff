"""The queue on a stock kube-scheduler: pods that name no scheduler wait at our gate and are bound where we pin them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, GATE
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import policy_gate
from tests.e2e.scheduling.conftest import GPUS, NODES
from tests.e2e.scheduling.queued_workloads import GROVE_GATE, POD_GANGS, POD_GROUPS, pod
from tests.e2e.scheduling.stack import Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def plane(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the gate, and kube-scheduler in its default configuration, without an extender."""
    with ControlPlane(tmp_path_factory.mktemp("queue"), binaries=binaries) as started:
        started.start_controller_manager()
        policy_gate.apply(started)
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


def test_a_gang_of_64_is_placed_whole_beside_a_burst_and_one_without_room_is_held_whole(stack: Stack) -> None:
    """Beside 300 singles 64 pods of three sizes are placed whole; a gang without room waits, and is told."""
    sizes = ["3g.20gb"] * 16 + ["2g.10gb"] * 16 + ["1g.5gb"] * 32

    def gang(name: str, sizes: list[str]) -> list[dict[str, Any]]:
        annotations = {GANG_ANNOTATION: name, GANG_SIZE_ANNOTATION: str(len(sizes))}
        return [pod(f"{name}-{n}", size, annotations=annotations) for n, size in enumerate(sizes)]

    stack.create(*gang("first", sizes))
    stack.create(*(pod(f"single-{n}", "1g.5gb") for n in range(300)))
    stack.create(*gang("second", ["4g.20gb"] * 8))
    eventually(lambda: len(bound(stack.pods("--selector=app=first"))) == len(sizes), "the first gang bound")
    eventually(lambda: "no room for all of it at once" in stack.explain("default/second-0")["reason"], "the reason")
    second = stack.pods("--selector=app=second")
    assert [one["spec"]["schedulingGates"] for one in second] == [[{"name": GATE}]] * 8
    placements(stack, stack.pods())


def test_a_pod_group_of_scheduler_plugins_is_a_gang(stack: Stack) -> None:
    """Pods that name a PodGroup wait for it and for as many of them as it says, and are then bound together."""
    group = {
        "apiVersion": "scheduling.x-k8s.io/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": "group"},
        "spec": {"minMember": 3},
    }
    labels = {"scheduling.x-k8s.io/pod-group": "group", "app": "grouped"}

    def member(number: int) -> dict[str, Any]:
        document = pod(f"grouped-{number}", "3g.20gb")
        document["metadata"]["labels"] = labels
        return document

    stack.plane.apply(POD_GROUPS)
    stack.create(member(0), member(1))
    eventually(lambda: "no PodGroup" in stack.explain("default/grouped-0")["reason"], "told that there is none")
    stack.create(group)
    eventually(lambda: "1 of its pods are missing" in stack.explain("default/grouped-0")["reason"], "its size read")
    stack.create(member(2))
    eventually(lambda: len(bound(stack.pods("--selector=app=grouped"))) == 3, "the gang bound")
    stack.plane.kubectl("delete", "crd/podgroups.scheduling.x-k8s.io", "--wait=false")


def test_a_pod_gang_of_grove_is_a_gang_once_groves_gate_is_gone(stack: Stack) -> None:
    """Its pods wait for Grove's gate first, then for as many of each part as it says, and are bound together."""
    parts = {"graph-0": "decode", "graph-1": "decode", "graph-2": "prefill"}
    references = {part: [name for name in parts if parts[name] == part] for part in ("decode", "prefill")}
    gang = {
        "apiVersion": "scheduler.grove.io/v1alpha1",
        "kind": "PodGang",
        "metadata": {"name": "graph"},
        "spec": {
            "podgroups": [
                {
                    "name": part,
                    "minReplicas": len(names),
                    "podReferences": [{"namespace": "default", "name": name} for name in names],
                }
                for part, names in references.items()
            ]
        },
    }
    stack.plane.apply(POD_GANGS)
    stack.plane.kubectl("wait", "--for=condition=Established", "crd/podgangs.scheduler.grove.io")
    stack.create(gang)
    for name, part in parts.items():
        document = pod(name, "3g.20gb", schedulingGates=[{"name": GROVE_GATE}])
        document["metadata"]["labels"] |= {"grove.io/podgang": "graph", "grove.io/podclique": part}
        stack.create(document)
    eventually(lambda: stack.explain("default/graph-0")["code"] == "gated", "told whose gate it is")
    for name in parts:
        assert not bound(stack.pods("--selector=app=graph"))
        stack.plane.kubectl(
            "patch", "pod", name, "--type=strategic",
            f'--patch={{"spec":{{"schedulingGates":[{{"$patch":"delete","name":"{GROVE_GATE}"}}]}}}}',
        )  # fmt: skip
    eventually(lambda: len(bound(stack.pods("--selector=app=graph"))) == 3, "the gang bound")
    stack.plane.kubectl("delete", "crd/podgangs.scheduler.grove.io", "--wait=false")


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


def test_pods_that_keep_apart_end_where_kube_scheduler_agrees(stack: Stack) -> None:
    """Of six pods that keep apart five are bound, one to a node, and the sixth waits; pods to be spread end evenly."""
    selected = {"matchLabels": {"app": "shy"}}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selected}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    stack.create(*(pod(f"shy-{n}", "1g.5gb", affinity=apart) for n in range(NODES + 1)))
    eventually(lambda: len(bound(stack.pods("--selector=app=shy"))) == NODES, "a pod on each node")
    shy = stack.pods("--selector=app=shy")
    assert len({each["spec"]["nodeName"] for each in bound(shy)}) == NODES
    (left,) = [each["metadata"]["name"] for each in shy if not each["spec"].get("nodeName")]
    eventually(lambda: stack.explain(f"default/{left}")["ineligible"] == {"InterPodAffinity": NODES}, "told why")
    spread = {**term, "labelSelector": {"matchLabels": {"app": "even"}}, "whenUnsatisfiable": "DoNotSchedule"}
    stack.create(
        *(pod(f"even-{n}", "1g.5gb", topologySpreadConstraints=[spread | {"maxSkew": 1}]) for n in range(2 * NODES))
    )
    eventually(lambda: len(bound(stack.pods("--selector=app=even"))) == 2 * NODES, "all bound")
    on = Counter(each["spec"]["nodeName"] for each in stack.pods("--selector=app=even"))
    assert set(on.values()) == {2}


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


def keeping_away(stack: Stack, *nodes: str) -> dict[str, Any]:
    """An affinity by labels of namespaces, which are not known to us, and pods on these nodes that it keeps away
    from.
    """
    stack.plane.kubectl("label", "namespace", "default", "team=a", "--overwrite")
    for node in nodes:
        spec = {"nodeName": node, "containers": [{"name": "main", "image": "none"}], "terminationGracePeriodSeconds": 0}
        meta = {"name": f"blocker-{node}", "labels": {"keeps": "away"}}
        stack.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    term = {
        "labelSelector": {"matchLabels": {"keeps": "away"}},
        "namespaceSelector": {"matchLabels": {"team": "a"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def packed_best(stack: Stack, number: int) -> list[str]:
    """Nodes where a 4g.20gb costs least: each has a GPU with a 3g.20gb."""
    nodes = [node.name for node in stack.fleet[:number]]
    for node in stack.fleet:
        stack.plane.kubectl("label", "node", node.name, f"kubernetes.io/hostname={node.name}", "--overwrite")
    stack.create(
        *(pod(f"half-{n}", "3g.20gb", nodeSelector={"kubernetes.io/hostname": node}) for n, node in enumerate(nodes))
    )
    eventually(lambda: len(bound(stack.pods("--selector=app=half"))) == number, "half of a GPU taken on each")
    return nodes


def test_a_pod_that_its_first_node_refuses_is_bound_to_the_second_and_gives_the_first_back(stack: Stack) -> None:
    """What nobody here judges keeps a pod from the node with its first place: it gets the place on the other one."""
    (first,) = packed_best(stack, 1)
    stack.create(pod("either-1", "4g.20gb", affinity=keeping_away(stack, first)))
    eventually(lambda: bool(bound(stack.pods("--selector=app=either"))), "the pod bound")
    (either,) = stack.pods("--selector=app=either")
    required = either["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    named = [term["matchFields"][0]["values"][0] for term in required["nodeSelectorTerms"]]
    assert (first, either["spec"]["nodeName"]) == tuple(named)
    stack.create(pod("next-1", "4g.20gb"))
    eventually(lambda: bool(bound(stack.pods("--selector=app=next"))), "another pod bound")
    (next_one,) = stack.pods("--selector=app=next")
    assert next_one["spec"]["nodeName"] == first, "the place that was given back is the best"
    placements(stack, stack.pods())


def test_a_pod_that_kube_scheduler_refuses_gives_its_place_back_and_comes_anew(stack: Stack) -> None:
    """A Deployment's pod that neither of its nodes takes is told so and deleted; its successor is bound elsewhere."""
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
    of_pod = pod("moved-1", "4g.20gb")["spec"]
    refusing = packed_best(stack, 2)
    of_pod["affinity"] = keeping_away(stack, *refusing)
    replicas["spec"]["template"]["spec"] = of_pod
    stack.create(replicas)
    eventually(lambda: bool(bound(stack.pods("--selector=app=moved"))), "the successor bound")
    told = ["get", "events", "--field-selector=source=migsched-queue", "--output=jsonpath={.items[*].reason}"]
    eventually(lambda: "ReturnedToQueue" in stack.plane.kubectl(*told).stdout, "the pod was told")
    (moved,) = bound(stack.pods("--selector=app=moved"))
    assert moved["spec"]["nodeName"] not in refusing
    placements(stack, stack.pods())
