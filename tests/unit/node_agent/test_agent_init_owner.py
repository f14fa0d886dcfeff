"""Slices of ordinary init containers: whose they are by the kubelet's checkpoint, and when they are free."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.claims.report import SliceState
from node_agent.cluster.pods import PodView
from node_agent.slices.ownership import Assignment
from tests.unit.node_agent.agent_on_node import AgentOnNode

SMALL = "nvidia.com/mig-1g.5gb"


@pytest.fixture
def node(tmp_path: Path) -> AgentOnNode:
    """One A100."""
    return AgentOnNode(tmp_path)


def admitted(node: AgentOnNode, name: str) -> PodView:
    """A pod whose init container got a slice."""
    pod = node.bind(name, "1g.5gb", listed=False)
    node.admit(pod)
    return pod


def step(node: AgentOnNode, after: float, *, listed_at: float, checkpoint: Mapping[str, str] | None) -> None:
    """The agent makes a step. `checkpoint` names pods by device id, `listed_at` is when the pods were listed."""
    node.now += after
    node.state.on_pods({uid: pod.view for uid, pod in node.pods.items()}, listed_at)
    assigned = None
    if checkpoint is not None:
        assigned = {(SMALL, id_): (Assignment(uid, "prepare"),) for id_, uid in checkpoint.items()}
    node.state.on_listing(replace(node.listing(), assigned=assigned))
    node.outcome = node.agent.step()


def reported(node: AgentOnNode) -> list[tuple[str, str]]:
    """Owner and container of the allocated slices."""
    assert node.outcome is not None
    return [
        (slice_.owner.pod, slice_.owner.container) if slice_.owner else ("", "")
        for gpu in node.outcome.report.gpus
        for slice_ in gpu.slices
        if slice_.state is SliceState.ALLOCATED
    ]


def only_id(node: AgentOnNode, pod: PodView) -> str:
    """The pod's device."""
    ((id_,),) = node.pods[pod.uid].devices.values()
    return id_


def test_the_checkpoint_names_an_init_containers_pod(node: AgentOnNode) -> None:
    """The report says whose the slice is, although PodResources never lists it."""
    pod = admitted(node, "init")
    step(node, 1.0, listed_at=node.now, checkpoint={only_id(node, pod): pod.uid})
    assert reported(node) == [("init", "prepare")]


def test_a_slice_comes_back_although_another_init_container_has_one(node: AgentOnNode) -> None:
    """With a pod alive that has such a slice, another pod's is freed once that pod is over."""
    pods = [admitted(node, name) for name in "ab"]
    checkpoint = {only_id(node, pod): pod.uid for pod in pods}
    step(node, 1.0, listed_at=node.now, checkpoint=checkpoint)
    node.end(pods[0], gone=True)
    step(node, 10.0, listed_at=node.now, checkpoint=checkpoint)
    assert reported(node) == [("b", "prepare")]


def test_an_unnamed_slice_is_free_once_all_it_may_belong_to_are_gone(node: AgentOnNode) -> None:
    """A pod that ended before any step is known from the checkpoint, which names it still."""
    gone, lives = admitted(node, "gone"), admitted(node, "lives")
    checkpoint = {only_id(node, pod): pod.uid for pod in (gone, lives)}
    node.end(gone)
    step(node, 10.0, listed_at=node.now, checkpoint=checkpoint)
    assert reported(node) == [("lives", "prepare")]


def test_a_pod_that_is_not_known_is_gone_only_by_a_younger_list(node: AgentOnNode) -> None:
    """While the API server is away, a pod that the agent never saw keeps its slice; a list is wanted, and tells."""
    pod = admitted(node, "unseen")
    known = node.pods.pop(pod.uid)
    taken_at = node.now
    checkpoint = {known.devices["main", SMALL][0]: pod.uid}
    step(node, 10.0, listed_at=taken_at - 1.0, checkpoint=checkpoint)
    assert reported(node) == [("", "")]
    assert node.state.wants_pods
    step(node, 1.0, listed_at=taken_at + 1.0, checkpoint=checkpoint)
    assert reported(node) == []


def test_without_a_checkpoint_a_slice_stays_with_those_that_may_have_it(node: AgentOnNode) -> None:
    """Where the file cannot be read, a living pod of that profile keeps every slice that may be its own."""
    gone = admitted(node, "gone")
    admitted(node, "lives")
    node.end(gone, gone=True)
    step(node, 10.0, listed_at=node.now, checkpoint=None)
    assert reported(node) == [("", ""), ("", "")]


def test_an_ended_pods_slice_is_handed_out_where_it_is_promised(node: AgentOnNode) -> None:
    """The kubelet offers it and its checkpoint names nobody: the pod that was promised the place gets it, at once."""
    gone = admitted(node, "gone")
    (place,) = node.places_of(gone)
    node.end(gone, gone=True)
    step(node, 1.0, listed_at=node.now, checkpoint={})
    assert reported(node) == [("", "")]
    heir = node.bind("heir", "1g.5gb", at=(place,))
    step(node, 0.1, listed_at=node.now, checkpoint={})
    assert node.admit(heir)
    assert node.places_of(heir) == [place]
