"""The queue beside Kueue's and Grove's gates on a stock kube-scheduler: theirs go first, and what is written with that
is kept.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from allocator.claims import contract
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION, GATE
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import policy_gate
from tests.e2e.scheduling.queued_workloads import GROVE_GATE, POD_GANGS, pod
from tests.e2e.scheduling.stack import Document, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e

KUEUE_GATE, KUEUE_TOPOLOGY_GATE = "kueue.x-k8s.io/admission", "kueue.x-k8s.io/topology"
RESERVED = {"key": "flavour", "value": "reserved", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def queueing(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Our queue over two nodes, `at: a` and `at: b`, with one GPU each; kube-scheduler in its default configuration."""
    with ControlPlane(tmp_path_factory.mktemp("gates"), binaries=binaries) as plane:
        plane.start_controller_manager()
        policy_gate.apply(plane)
        plane.apply(POD_GANGS)
        plane.start_scheduler()
        with closing(Stack(plane, 2, 1)) as made:
            for node, letter in zip(made.fleet, "ab", strict=True):
                plane.kubectl("label", "node", node.name, f"at={letter}")
            made.serve(queue=True)
            yield made


@pytest.fixture
def stack(queueing: Stack) -> Iterator[Stack]:
    """The running stack, without workloads."""
    yield queueing
    queueing.clear()


def gated(name: str, profile: str, *gates: str, **more: Any) -> Document:
    """A pod that its author, or a webhook, gave gates of others."""
    return pod(name, profile, schedulingGates=[{"name": gate} for gate in gates], **more)


def take_off(stack: Stack, name: str, gate: str, **spec: Any) -> None:
    """What a controller does that lets a pod go: the list without its gate, and more of the spec, in one PATCH."""
    found = json.loads(stack.plane.kubectl("get", "pod", name, "--output=json").stdout)
    left = [one for one in found["spec"]["schedulingGates"] if one["name"] != gate]
    patch = {"spec": {"schedulingGates": left, **spec}}
    stack.plane.kubectl("patch", "pod", name, "--type=merge", f"--patch={json.dumps(patch)}")


def node_of(stack: Stack, name: str) -> str:
    """The node of a pod, nothing without one."""
    return stack.plane.kubectl("get", "pod", name, "--output=jsonpath={.spec.nodeName}").stdout


def wait_past_the_second_of(stack: Stack, name: str) -> None:
    """Wait until a new pod is younger than this one: Kubernetes tells their ages in whole seconds."""
    (found,) = (one for one in stack.pods() if one["metadata"]["name"] == name)
    second = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
    eventually(lambda: datetime.now(UTC) >= second + timedelta(seconds=1), "the next second")


def behind_others(seen: Sequence[Document], app: str) -> Sequence[Document]:
    """The states of an app's pods in which they had a gate of others; there is one at least."""
    states = [one for one in seen if one["metadata"]["labels"]["app"] == app]
    found = [one for one in states if any(gate["name"] != GATE for gate in one["spec"].get("schedulingGates", ()))]
    assert found, f"no pod of {app} was seen behind a gate of others"
    return found


def is_untouched(state: Document) -> bool:
    """Whether a pod has our gate, no affinity and no place."""
    return (
        {"name": GATE} in state["spec"]["schedulingGates"]
        and "affinity" not in state["spec"]
        and contract.PLACEMENT_ANNOTATION not in (state["metadata"].get("annotations") or {})
    )


def test_the_flavour_that_kueue_writes_as_it_admits_is_kept(stack: Stack) -> None:
    """Selector and toleration written in the PATCH that takes the gate off lead the pod to that node alone: it waits
    for it rather than go to another one that is free.
    """
    other, reserved = (node.name for node in stack.fleet)
    flavour = {"nodeSelector": {"at": "b"}, "tolerations": [RESERVED | {"operator": "Equal"}]}
    stack.plane.kubectl("taint", "node", reserved, "flavour=reserved:NoSchedule")
    stack.create(gated("first-1", "3g.20gb", KUEUE_GATE), gated("second-1", "7g.40gb", KUEUE_GATE))
    eventually(lambda: "Kueue" in stack.explain("default/first-1")["reason"], "told whose gate it is")
    take_off(stack, "first-1", KUEUE_GATE, **flavour)
    eventually(lambda: node_of(stack, "first-1") == reserved, "the first bound to the node of its flavour")
    take_off(stack, "second-1", KUEUE_GATE, **flavour)
    eventually(lambda: stack.explain("default/second-1")["ineligible"] == {"NodeAffinity": 1}, "told why it waits")
    stack.create(pod("plain-1", "7g.40gb"))
    eventually(lambda: node_of(stack, "plain-1") == other, "the free node goes to another pod")
    stack.delete("first-1")
    eventually(lambda: node_of(stack, "second-1") == reserved, "the second bound to the node of its flavour")
    (second,) = stack.pods("--selector=app=second")
    assert second["spec"]["nodeSelector"] == {"at": "b"}
    placements(stack, stack.pods())
    stack.plane.kubectl("taint", "node", reserved, "flavour:NoSchedule-")


def test_nothing_is_held_for_a_pod_behind_another_gate(stack: Stack) -> None:
    """Older pods behind one or two gates of others take no room from younger ones, and nothing is written to them
    before the last of those gates goes; then they are in our queue by their age.
    """
    with stack.recorded() as seen:
        stack.create(gated("theirs-1", "7g.40gb", KUEUE_GATE, KUEUE_TOPOLOGY_GATE))
        stack.create(gated("theirs-2", "7g.40gb", GROVE_GATE))
        stack.create(*(pod(f"ours-{number}", "7g.40gb") for number in range(2)))
        eventually(lambda: len(bound(stack.pods("--selector=app=ours"))) == 2, "all room goes to younger pods")
        wait_past_the_second_of(stack, "theirs-2")
        stack.create(pod("ours-2", "7g.40gb"))
        take_off(stack, "theirs-1", KUEUE_GATE)
        take_off(stack, "theirs-2", GROVE_GATE)
        eventually(lambda: "2 full" in stack.explain("default/theirs-2")["reason"], "it is ours, and waits")
        stack.delete("ours-0")
        eventually(lambda: bool(node_of(stack, "theirs-2")), "the older of those that are ours is bound")
        assert stack.explain("default/theirs-1")["code"] == "gated"
        assert not node_of(stack, "ours-2")
        take_off(stack, "theirs-1", KUEUE_TOPOLOGY_GATE)
        stack.delete("ours-1")
        eventually(lambda: bool(node_of(stack, "theirs-1")), "the oldest is bound")
    assert all(map(is_untouched, behind_others(seen, "theirs")))
    assert not node_of(stack, "ours-2")
    placements(stack, stack.pods())


def test_a_gang_starts_when_kueue_has_admitted_all_of_it(stack: Stack) -> None:
    """Its pods are let go one by one, to nodes that Kueue names, and are bound together after the last one."""
    says = {GANG_ANNOTATION: "train", GANG_SIZE_ANNOTATION: "3"}
    with stack.recorded() as seen:
        stack.create(*(gated(f"train-{number}", "3g.20gb", KUEUE_GATE, annotations=says) for number in range(3)))
        for number, letter in enumerate("ab"):
            take_off(stack, f"train-{number}", KUEUE_GATE, nodeSelector={"at": letter})
        eventually(lambda: "1 of its pods" in stack.explain("default/train-1")["reason"], "one is waited for")
        stack.create(pod("single-1", "4g.20gb", nodeSelector={"at": "a"}))
        eventually(lambda: bool(node_of(stack, "single-1")), "nothing is held for a part of a gang")
        assert not bound(stack.pods("--selector=app=train"))
        take_off(stack, "train-2", KUEUE_GATE, nodeSelector={"at": "b"})
        eventually(lambda: len(bound(stack.pods("--selector=app=train"))) == 3, "the gang bound")
    first, second = (node.name for node in stack.fleet)
    assert [node_of(stack, f"train-{number}") for number in range(3)] == [first, second, second]
    assert all(map(is_untouched, behind_others(seen, "train")))
    placements(stack, stack.pods())


def test_a_pod_gang_behind_both_gates_is_placed_whole(stack: Stack) -> None:
    """Grove's and Kueue's gates go in either order; then all parts of the PodGang wait until all of them fit."""
    profiles = {"graph-0": "3g.20gb", "graph-1": "3g.20gb", "graph-2": "7g.40gb"}
    parts = {"decode": ["graph-0", "graph-1"], "prefill": ["graph-2"]}
    groups = [
        {
            "name": part,
            "minReplicas": len(names),
            "podReferences": [{"namespace": "default", "name": name} for name in names],
        }
        for part, names in parts.items()
    ]
    kind = {"apiVersion": "scheduler.grove.io/v1alpha1", "kind": "PodGang"}
    stack.create({**kind, "metadata": {"name": "graph"}, "spec": {"podgroups": groups}}, pod("small-1", "1g.5gb"))
    eventually(lambda: bool(node_of(stack, "small-1")), "one GPU is not free")
    with stack.recorded() as seen:
        for part, names in parts.items():
            for name in names:
                document = gated(name, profiles[name], GROVE_GATE, KUEUE_GATE)
                document["metadata"]["labels"] |= {"grove.io/podgang": "graph", "grove.io/podclique": part}
                stack.create(document)
        for name, order in zip(profiles, [(GROVE_GATE, KUEUE_GATE), (KUEUE_GATE, GROVE_GATE)] * 2, strict=False):
            for gate in order:
                take_off(stack, name, gate)
        eventually(lambda: "for all of it at once" in stack.explain("default/graph-0")["reason"], "told why it waits")
        assert not bound(stack.pods("--selector=app=graph"))
        stack.delete("small-1")
        eventually(lambda: len(bound(stack.pods("--selector=app=graph"))) == 3, "the gang bound")
    assert all(map(is_untouched, behind_others(seen, "graph")))
    placements(stack, stack.pods())
