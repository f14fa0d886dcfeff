"""Answers count no GPU on a node that takes no pods, and move pods only to where they may go."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET

from allocator import errors
from allocator.claims.snapshot_file import Saved
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.node import NodeFacts, Taint
from allocator.planning import capacity, repack
from allocator.planning.capacity.types import ClosedNodes, RequestsFit, RoomComing
from tests.clusters import cluster

ROOM = Amounts(8000, 1 << 40, 1 << 40, 110)
CORDONED = "NodeUnschedulable: the node is cordoned"
PINNED = PodConstraints(node_selector=(("pool", "node-1"),))
BIG = {"requests": [{"name": "big", "profiles": {"7g.40gb": 1}}]}


def _known(saved: Saved, closed: dict[str, str] | None = None, **facts: object) -> Saved:
    """The same with what is known of the nodes: each is a pool of its own."""
    nodes = tuple(
        replace(
            node,
            facts=NodeFacts(node.name, labels={"pool": node.name}, allocatable=ROOM, **facts),  # type: ignore[arg-type]
            closed=(closed or {}).get(node.name, ""),
        )
        for node in saved.snapshot.nodes
    )
    return replace(saved, snapshot=replace(saved.snapshot, nodes=nodes))


def _two(**facts: Any) -> Saved:
    """A pod on each of two nodes' GPUs; that of the first may move."""
    built = cluster().node("node-1").gpu().pod("m1", "1g.5gb@0", movable=True, **facts)
    return built.node("node-2").gpu().pod("m2", "1g.5gb@0").saved()


def test_gpus_on_closed_nodes_are_shown_apart() -> None:
    """A cordoned node's GPUs count for nothing, and the answer says how many there are and why."""
    answer = capacity.answer({"profiles": "1g.5gb"}, _known(_two(), {"node-1": CORDONED}))
    assert (answer.gpus, answer.free_memory_slices, answer.profiles["1g.5gb"].now) == ({"a100-40gb": 1}, 7, 6)
    assert answer.closed is not None
    assert answer.closed == ClosedNodes(1, 1, 7, {CORDONED: 1})


def test_no_pod_fits_where_every_node_is_closed() -> None:
    """With every node cordoned, nothing is free now or after a repack."""
    answer = capacity.answer({}, _known(_two(), {"node-1": CORDONED, "node-2": CORDONED}))
    assert (answer.gpus, answer.free_memory_slices, answer.profiles) == ({}, 0, {})


def test_a_move_goes_to_no_closed_node() -> None:
    """A repack does not count on a cordoned node's room, where it was possible with the node open."""
    assert repack.answer(BIG, _known(_two())).possible
    closed = _known(_two(), {"node-2": CORDONED})
    assert repack.answer(BIG, closed).possible is False


@pytest.mark.parametrize("slices", [("1g.5gb@0",), ("1g.5gb@0", "1g.5gb@1")])
def test_a_move_goes_only_where_the_pod_may_run(slices: tuple[str, ...]) -> None:
    """A pod whose nodeSelector names its node stays there, and one that may go there goes to the third node."""
    built = cluster().node("node-1").gpu().pod("m1", *slices, movable=True, constraints=PINNED)
    saved = _known(built.node("node-2").gpu().pod("m2", "1g.5gb@0").saved())
    assert repack.answer(BIG, saved).possible is False
    third = PodConstraints(node_selector=(("pool", "node-3"),))
    built = cluster().node("node-1").gpu().pod("m1", *slices, movable=True, constraints=third)
    saved = _known(built.node("node-2").gpu().pod("m2", "1g.5gb@0").node("node-3").gpu().pod("m3", "1g.5gb@0").saved())
    (move,) = repack.answer(BIG, saved).moves
    assert move.to_node == "node-3"


def test_a_closed_node_can_be_drained() -> None:
    """Asked to empty a cordoned node, a repack moves its pods away, and its GPUs count as no gain."""
    answer = repack.answer({"empty": {"nodes": ["node-1"]}}, _known(_two(), {"node-1": CORDONED}))
    assert [(move.pod, move.to_node) for move in answer.moves] == [("default/m1", "node-2")]
    assert answer.after is not None
    assert (answer.before.gpus_in_use, answer.after.gpus_in_use, answer.after.gpus_empty) == (1, 1, 0)


def test_a_terminating_pod_is_not_moved_and_its_room_is_coming() -> None:
    """A pod that has been deleted stays where it is until it is gone, and capacity says what it will leave."""
    saved = _known(_two(terminating=True))
    assert repack.answer(BIG, saved).possible is False
    answer = capacity.answer({"profiles": "1g.5gb"}, saved)
    assert answer.coming == RoomComing(1, 1)
    assert answer.profiles["1g.5gb"].now == 12


def test_what_a_move_depends_on_is_named() -> None:
    """An answer that moves a pod names what of its wishes was not looked at."""
    saved = _known(_two(constraints=PodConstraints(unjudged=("inter-pod affinity",))))
    assert repack.answer(BIG, saved).notes == [
        "CPU and memory that other pods use were not looked at",
        "not looked at: inter-pod affinity of default/m1",
        "only slices are counted for requests without a spec: big",
    ]
    notes = repack.answer(BIG, _two()).notes
    assert isinstance(notes, list)
    (note,) = notes
    assert "is not known here" in note


def test_nodes_kept_for_some_pods_are_counted_and_named() -> None:
    """A taint that somebody set to keep nodes for certain pods is named, and their GPUs count."""
    answer = capacity.answer({"profiles": "1g.5gb"}, _known(_two(), taints=(Taint("nvidia.com/gpu", "NoSchedule"),)))
    assert answer.profiles["1g.5gb"].now == 12
    assert "2 nodes are for pods that tolerate the taint nvidia.com/gpu:NoSchedule" in (answer.notes or ())


CPU = {"containers": [{"resources": {"limits": {"cpu": "3", "nvidia.com/mig-1g.5gb": "1"}}}]}


def _used(saved: Saved, **used: Amounts) -> Saved:
    nodes = tuple(replace(node, used=used.get(node.name.replace("-", "_"))) for node in saved.snapshot.nodes)
    return replace(saved, snapshot=replace(saved.snapshot, nodes=nodes))


def test_requests_with_a_spec_go_only_where_their_pods_may_run() -> None:
    """A selector and a taint keep a request's pods from nodes whose GPUs have room."""
    pinned = {"name": "p", "profiles": {"1g.5gb": 1}, "spec": {"nodeSelector": {"pool": "node-2"}}}
    answer = capacity.answer({"profiles": [], "requests": [pinned]}, _known(_two()))
    assert isinstance(answer.requests, RequestsFit)
    assert [placed.node for placed in answer.requests.placements] == ["node-2"]
    tainted = _known(_two(), taints=(Taint("team", "NoSchedule"),))
    refused = capacity.answer({"profiles": [], "requests": [pinned], "replicas": True}, tainted)
    assert isinstance(refused.requests, RequestsFit)
    assert refused.requests.fit is False
    assert isinstance(refused.replicas, list)
    assert (refused.replicas[0].now, refused.replicas[0].ineligible) == (0, {"TaintToleration": 2})


def test_requests_count_the_cpu_that_others_leave() -> None:
    """Of 8 CPUs others use 4 on one node: pods of 3 CPUs fit there once, and twice on the other, whatever the GPUs."""
    saved = _used(_known(_two()), node_1=Amounts(4000, 0, 0, 9), node_2=Amounts(0, 0, 0, 1))
    question = {"profiles": [], "requests": [{"profiles": {"1g.5gb": 1}, "count": 3, "spec": CPU}], "replicas": True}
    answer = capacity.answer(question, saved)
    assert isinstance(answer.requests, RequestsFit)
    assert isinstance(answer.replicas, list)
    assert answer.requests.fit is True
    assert answer.replicas[0].nodes == {"node-1": 1, "node-2": 2}
    assert answer.notes is UNSET or not any("other pods use" in note for note in answer.notes)
    question["requests"] = [{"profiles": {"1g.5gb": 1}, "count": 4, "spec": CPU}]
    more = capacity.answer(question, saved)
    assert isinstance(more.requests, RequestsFit)
    assert more.requests.fit is False
    assert [change.kind for change in more.requests.no_changes] == ["moves", "profile"]


def test_a_repack_frees_cpu_too() -> None:
    """Where a movable pod holds the CPU that the request needs, it moves, although its slice is in nobody's way."""
    heavy = PodConstraints(requests=Amounts(6000, 0, 0, 1))
    saved = _used(_known(_two(constraints=heavy)), node_1=Amounts(6000, 0, 0, 1), node_2=Amounts(1000, 0, 0, 1))
    spec = CPU | {"nodeSelector": {"pool": "node-1"}}
    answer = repack.answer({"requests": [{"profiles": {"1g.5gb": 1}, "spec": spec}]}, saved)
    assert [(move.pod, move.to_node) for move in answer.moves] == [("default/m1", "node-2")]
    full = _used(saved, node_1=Amounts(6000, 0, 0, 1), node_2=Amounts(3000, 0, 0, 1))
    assert repack.answer({"requests": [{"profiles": {"1g.5gb": 1}, "spec": spec}]}, full).possible is False


def test_what_a_spec_asks_and_nobody_looks_at_is_named() -> None:
    """A spread rule of a request is not judged, which the answer says; so is a request without a spec."""
    spread = {"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}
    asked = [{"name": "s", "profiles": {"1g.5gb": 1}, "spec": spread}, {"name": "bare", "profiles": {"1g.5gb": 1}}]
    notes = capacity.answer({"profiles": [], "requests": asked}, _known(_two())).notes
    assert isinstance(notes, list)
    assert "not looked at: topology spread of s" in notes
    assert "only slices are counted for requests without a spec: bare" in notes


@pytest.mark.parametrize(
    ("spec", "fix"),
    [
        ("text", "write a mapping"),
        ({"containers": ["x" * 70_000]}, "is too large"),
    ],
)
def test_a_spec_is_a_mapping_of_bounded_size(spec: Any, fix: str) -> None:
    """A spec that is none, or too large to be one, is refused by its field."""
    with pytest.raises(errors.InputError, match=fix) as caught:
        repack.answer({"requests": [{"profiles": {"1g.5gb": 1}, "spec": spec}]}, _two())
    assert caught.value.field == "requests[0].spec"
