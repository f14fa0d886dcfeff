"""Repacks carried out on a cluster in memory: which pods move, in which order, and what is held (docs/repacking.md)."""

import asyncio
from collections.abc import Iterator

import pytest

from allocator import errors
from allocator.claims import contract
from allocator.moves.budgets import TimeWindow
from allocator.moves.document import RepackMode
from allocator.moves.life import MoveState, RepackPhase
from scheduler.moves.options import MovesOptions
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.property import quick_planner
from tests.property.moving_cluster import MovingCluster

ROOM = {"requests": [{"name": "big", "profiles": {"7g.40gb": 1}}]}


@pytest.fixture
def cluster() -> Iterator[MovingCluster]:
    """Two nodes with one GPU each."""
    made = MovingCluster(nodes=2)
    yield made
    made.close()


def fragmented(cluster: MovingCluster) -> None:
    """Each of two nodes has one small pod, so that no whole GPU is free."""
    cluster.workload("a", "1g.5gb")
    cluster.workload("b", "1g.5gb")
    cluster.bound("a-1", "1g.5gb", "n1", 0, owner="a")
    cluster.bound("b-1", "1g.5gb", "n2", 0, owner="b")
    cluster.agents()
    cluster.deliver()


def test_a_repack_moves_one_pod_and_the_waiting_pod_runs(cluster: MovingCluster) -> None:
    """A pod of a whole GPU runs once the one move that makes room is made and confirmed."""
    fragmented(cluster)
    big = cluster.create("7g.40gb")
    cluster.turn(2)
    cluster.repack(wanted={"requests": [{"name": "big", "profiles": {"7g.40gb": 1}}]})
    cluster.turn(12)
    status = cluster.status()
    assert status.phase is RepackPhase.DONE, status
    assert [step.state for step in status.steps] == [MoveState.CONFIRMED]
    assert [pod["spec"].get("nodeName") for pod in cluster.pods() if pod["metadata"]["name"] == big] != [None]
    assert len(cluster.evicted) == 1
    cluster.check()


def test_a_run_that_goes_on_after_a_restart_leaves_the_loop_to_others(cluster: MovingCluster) -> None:
    """While a move waits for its budget, the executor of the next process looks now and then, and not all the time."""
    fragmented(cluster)
    cluster.budget("a", 0)
    cluster.budget("b", 0)
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM)
    cluster.turn(4)
    assert [step.state for step in cluster.status().steps] == [MoveState.EVICTING]
    cluster.restart()

    async def run_for_a_moment() -> None:
        async with asyncio.timeout(0.1):
            await cluster.moves.run()

    with pytest.raises(TimeoutError):
        cluster.run(run_for_a_moment())
    assert "PodDisruptionBudget" in cluster.status().message


def test_a_replacement_that_never_comes_is_given_up(cluster: MovingCluster) -> None:
    """Its place is free again, the pod that waits for room finds it, and the Repack ends."""
    fragmented(cluster)
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM, patienceSeconds=5)
    cluster.wanted.update(a=0, b=0)
    cluster.turn(12)
    (step, *_) = cluster.status().steps
    assert (step.state, step.reason) == (MoveState.ABANDONED, "no replacement came within 5 s")
    assert not [claim for claim in cluster.state.inventory.ledger if claim.uid.startswith("repack/")]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_replacement_that_the_kubelet_refuses_is_followed_by_another(cluster: MovingCluster, times: int) -> None:
    """Its place is held for the next pod of its owner, which is told apart from other pods as the first one was."""
    fragmented(cluster)
    big = cluster.create("7g.40gb")
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM)
    cluster.turn(2)  # it is evicted
    cluster.refused = {"a", "b"}
    cluster.turn(times)
    cluster.refused = set()
    cluster.turn(12)
    status = cluster.status()
    assert status.phase is RepackPhase.DONE, status
    assert [step.state for step in status.steps] == [MoveState.CONFIRMED]
    assert [pod["spec"].get("nodeName") for pod in cluster.pods() if pod["metadata"]["name"] == big] != [None]
    assert len(cluster.evicted) == 1
    cluster.check()


def test_a_foreign_slice_in_the_place_has_it_planned_anew(cluster: MovingCluster) -> None:
    """A slice that no pod has takes the held place: nobody is evicted for the old plan."""
    fragmented(cluster)
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM, mode="Approve")
    cluster.turn(3)
    (step,) = cluster.status().steps
    assert cluster.status().phase is RepackPhase.PROPOSED
    cluster.foreign.add((step.node, "1g.5gb", step.slices[0].start))
    cluster.agents()
    cluster.deliver()
    cluster.server.patch(api.REPACK, "r", {"spec": {"approved": True}})
    cluster.turn(80)
    status = cluster.status()
    assert status.plans > 1
    assert all(step.slices != moved.slices for moved in status.steps)


def test_an_end_that_could_not_be_written_stays_what_it_was(cluster: MovingCluster) -> None:
    """A Repack that has ended in a cycle of the queue, and whose status gets lost, ends no other way when it is looked
    at again.
    """
    fragmented(cluster)
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM, patienceSeconds=5, budgets={"moves": 1})
    cluster.wanted.update(a=0, b=0)
    cluster.turn(4)
    assert [step.state for step in cluster.status().steps] == [MoveState.GONE]
    cluster.now += 10
    cluster.step()
    cluster.cluster.faults.add(Fault("patch_status", api.REPACK.plural, error=errors.UnreachableError("lost")))
    cluster.turn(3)
    assert (cluster.status().phase, cluster.status().message) == (
        RepackPhase.FAILED,
        f"{cluster.status().steps[0].pod}: no replacement came within 5 s; no moves are left",
    )


@pytest.mark.parametrize("movable", ["false", ""])
def test_pods_that_are_not_marked_stay(cluster: MovingCluster, movable: str) -> None:
    """Without a movable pod there is no plan, the Repack says so, and nobody is evicted."""
    for owner, node in (("a", "n1"), ("b", "n2")):
        cluster.workload(owner, "1g.5gb", movable=movable)
        cluster.bound(f"{owner}-1", "1g.5gb", node, 0, owner=owner)
    cluster.agents()
    cluster.repack(wanted=ROOM)
    cluster.turn(4)
    assert cluster.status().phase is RepackPhase.WAITING
    why = 'its annotation migsched.io/movable is "false"' if movable else "it is not marked movable"
    assert f"pods that may not be moved (2: {why})" in cluster.status().message
    assert not cluster.evicted


def test_a_pod_that_a_controller_adopts_may_be_moved(cluster: MovingCluster) -> None:
    """A pod without an owner stays until a controller takes it as its own."""
    fragmented(cluster)
    owners = {pod["metadata"]["name"]: pod["metadata"]["ownerReferences"] for pod in cluster.pods()}
    for name in owners:
        cluster.server.patch(api.POD, name, {"metadata": {"ownerReferences": None}}, "default")
    cluster.restart()
    for name, references in owners.items():
        cluster.server.patch(api.POD, name, {"metadata": {"ownerReferences": references}}, "default")
    cluster.repack(wanted=ROOM)
    cluster.turn(8)
    assert cluster.status().phase is RepackPhase.DONE, cluster.status().message


@pytest.mark.parametrize(
    ("setting", "namespace", "pod", "moves"),
    [
        ("", "true", "", True),
        ("", "true", "false", False),
        ("", "false", "true", True),
        ("default", None, "", True),
        ("*", None, "", True),
        ("default", "false", "", False),
        ("*", "false", "", False),
        ("other", "yes", "", False),
    ],
)
def test_a_pod_says_it_first_then_its_namespace_then_the_setting(
    cluster: MovingCluster, setting: str, namespace: str | None, pod: str, *, moves: bool
) -> None:
    """Whether an unmarked pod may be moved is its namespace's to say, and the setting's where that says nothing."""
    for owner, node in (("a", "n1"), ("b", "n2")):
        cluster.workload(owner, "1g.5gb", movable=pod)
        cluster.bound(f"{owner}-1", "1g.5gb", node, 0, owner=owner)
    cluster.agents()
    mark = {} if namespace is None else {"annotations": {contract.MOVABLE_ANNOTATION: namespace}}
    cluster.server.create(api.NAMESPACE, {"metadata": {"name": "default", **mark}})
    cluster.deliver()
    cluster.state.namespaces.of_settings = frozenset({setting})
    cluster.repack(wanted=ROOM)
    cluster.turn(10)
    assert len(cluster.evicted) == moves
    assert (cluster.status().phase is RepackPhase.DONE) is moves


def test_a_namespace_that_takes_its_mark_back_stops_the_move(cluster: MovingCluster) -> None:
    """A pod that is only held a place for stays when its namespace says no, whatever the plan was."""
    for owner, node in (("a", "n1"), ("b", "n2")):
        cluster.workload(owner, "1g.5gb", movable="")
        cluster.bound(f"{owner}-1", "1g.5gb", node, 0, owner=owner)
    cluster.agents()
    mark = {contract.MOVABLE_ANNOTATION: "true"}
    cluster.server.create(api.NAMESPACE, {"metadata": {"name": "default", "annotations": mark}})
    cluster.deliver()
    cluster.repack(wanted=ROOM, paused=True)
    cluster.turn(3)
    assert [step.state for step in cluster.status().steps] == [MoveState.HELD]
    cluster.server.patch(api.NAMESPACE, "default", {"metadata": {"annotations": None}})
    cluster.server.patch(api.REPACK, "r", {"spec": {"paused": False}})
    cluster.turn(3)
    assert (cluster.status().phase, cluster.evicted) == (RepackPhase.WAITING, [])
    assert not [claim for claim in cluster.state.inventory.ledger if claim.uid.startswith("repack/")]


def test_a_pod_under_way_is_told_for_whom(cluster: MovingCluster) -> None:
    """The evicted pod and the one in its stead get an Event each that names the Repack."""
    fragmented(cluster)
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM)
    cluster.turn(10)
    told = {stored.document["reason"]: stored.document["message"] for stored in cluster.server.list(api.EVENT)}
    assert "to make room for big (Repack r)" in told["Moving"]
    assert "moved by Repack r" in told["Moved"]


def scattered(cluster: MovingCluster) -> None:
    """Two pods of 2g lie where they keep a 3g from the half of their GPU."""
    for owner, node in (("a", "n1"), ("b", "n2")):
        cluster.workload(owner, "2g.10gb")
        cluster.bound(f"{owner}-1", "2g.10gb", node, 4, owner=owner)
    cluster.workload("c", "3g.20gb")
    cluster.bound("c-1", "3g.20gb", "n2", 0, owner="c")
    cluster.agents()
    cluster.deliver()


def free_and_stranded(cluster: MovingCluster) -> tuple[int, int]:
    """The memory slices that are free, and those of them that are stranded, as the service counts them."""
    figures = cluster.state.inventory.fleet.free_and_stranded(frozenset(cluster.state.demanded())).values()
    return sum(free for free, _ in figures), sum(stranded for _, stranded in figures)


@pytest.mark.parametrize("approved", [True, False])
def test_a_stranded_share_is_reached_once_it_is_approved(cluster: MovingCluster, *, approved: bool) -> None:
    """Plan after plan is made until no slice is stranded; then the Repack is done."""
    scattered(cluster)
    assert free_and_stranded(cluster)[1] > 0
    cluster.repack(wanted={"strandedShare": 0}, mode="Approve", approved=approved)
    cluster.turn(30)
    assert (free_and_stranded(cluster)[1] == 0) is approved
    assert (cluster.status().phase is RepackPhase.DONE) is approved, cluster.status()
    assert bool(cluster.evicted) is approved


def test_a_share_that_no_moves_lessen_waits(cluster: MovingCluster) -> None:
    """Where the pods may not move nothing is planned, and the Repack says so."""
    scattered(cluster)
    for name in ("a-1", "b-1", "c-1"):
        mark = {"annotations": {contract.MOVABLE_ANNOTATION: "false"}}
        cluster.server.patch(api.POD, name, {"metadata": mark}, "default")
    cluster.repack(wanted={"strandedShare": 0})
    cluster.turn(4)
    assert (cluster.status().phase, cluster.evicted) == (RepackPhase.WAITING, [])


@pytest.mark.parametrize("hour", [21, 23, 29])
def test_idle_times_are_for_defragmentation(cluster: MovingCluster, hour: int) -> None:
    """Once a window, while nobody waits, a Repack is made where too much is stranded; over midnight it is one."""
    scattered(cluster)
    cluster.propose(MovesOptions(on_refusal=RepackMode.AUTO, stranded_share=0.0, window=TimeWindow("22:00", "06:00")))
    cluster.now = hour * 3_600
    cluster.turn(30)
    names = [stored.document["metadata"]["name"] for stored in cluster.server.list(api.REPACK)]
    assert names == (["defragment-2026-11-30"] if hour > 22 else [])
    assert (free_and_stranded(cluster)[1] == 0) is bool(names)


def test_nobody_is_disturbed_while_the_window_is_closed(cluster: MovingCluster) -> None:
    """Places are held and the Repack says what it waits for; once the window opens, the move is made."""
    fragmented(cluster)
    cluster.plan_quickly(quick_planner.answer)
    cluster.repack(wanted=ROOM, window={"start": "01:00", "end": "02:00"}, notBefore="2026-11-30T00:30:00Z")
    for minutes in (0, 40):
        cluster.now = minutes * 60
        cluster.turn(3)
        assert [step.state for step in cluster.status().steps] == [MoveState.HELD]
        assert cluster.status().message == "no pod may be disturbed now"
    cluster.now = 3_600
    cluster.turn(12)
    assert cluster.status().phase is RepackPhase.DONE, cluster.status()


@pytest.mark.parametrize("wanted", [{"empty": {"gpus": 1}}, {"empty": {"nodes": ["n1"]}}])
def test_gpus_and_nodes_are_emptied(cluster: MovingCluster, wanted: dict[str, object]) -> None:
    """One more GPU is empty, or those of a node that takes no pods any more."""
    fragmented(cluster)
    if "nodes" in str(wanted):
        cluster.cordon("n1", value=True)
    cluster.repack(wanted=wanted)
    cluster.turn(12)
    assert cluster.status().phase is RepackPhase.DONE, cluster.status()
    nodes = {pod["spec"].get("nodeName") for pod in cluster.pods()}
    assert len(nodes) == 1
    assert "nodes" not in str(wanted) or nodes == {"n2"}


def test_a_waiting_pod_gets_moves_proposed(cluster: MovingCluster) -> None:
    """A pod in the queue that one move would serve gets a Repack, which ends by itself when the pod is gone."""
    fragmented(cluster)
    options = MovesOptions(on_refusal=RepackMode.APPROVE, after_s=1)
    cluster.propose(options)
    cluster.plan_quickly(quick_planner.answer)
    big = cluster.create("7g.40gb")
    cluster.turn(8)
    (made,) = (stored.document for stored in cluster.server.list(api.REPACK))
    assert made["metadata"]["name"].startswith("for-")
    assert made["spec"]["wanted"]["pod"]["name"] == big
    assert cluster.status(made["metadata"]["name"]).phase is RepackPhase.PROPOSED
    assert not cluster.evicted
    cluster.delete(big)
    cluster.turn(3)
    assert cluster.status(made["metadata"]["name"]).phase is RepackPhase.DONE
