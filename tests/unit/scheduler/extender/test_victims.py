"""Whom preemption evicts, and on which nodes: kube-scheduler's order, by the inputs on which it was once another."""

import time
from datetime import UTC, datetime

import pytest

from allocator.claims.report import NodeReport
from kubeclient.changes import Change, ChangeType
from scheduler.cache.departures import LATE_S
from scheduler.cache.port import WatchedKind
from scheduler.extender.preemptor import CHOICES, Preemptor
from tests import builders
from tests.unit.scheduler.preemptor_over_nodes import Answer, PreemptorOverNodes, budget, pod

MIRROR = {"kubernetes.io/config.mirror": "0123"}


def in_seconds(seconds: float) -> str:
    """A time from now as the API server writes it."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- on one node ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [[], ["uid-low-a"]])
async def test_the_least_important_pods_go_however_many(named: list[str]) -> None:
    """Two pods of priority 0 go before one of 900, as in kube-scheduler; victims that it names stand."""
    world = PreemptorOverNodes(1)
    world.hold("important", "n0", "4g.20gb", priority=900)
    world.hold("low-a", "n0", "1g.5gb")
    world.hold("low-b", "n0", "1g.5gb")
    answer = await world.preempt({"n0": (named, 0)}, "3g.20gb", priority=1000)
    assert answer == {"n0": (["uid-low-a", "uid-low-b"], 0)}


async def test_victims_come_the_most_important_first() -> None:
    """kube-scheduler takes the first victim's priority for the highest, whoever named it."""
    world = PreemptorOverNodes(1)
    for name, priority in (("b", 7), ("c", 5), ("a", 9)):
        world.hold(name, "n0", "2g.10gb", priority=priority)
    world.hold("d", "n0", "1g.5gb", priority=1)
    answer = await world.ordered({"n0": (["a-plain-pod", "uid-c"], 0)})
    assert answer == {"n0": (["uid-a", "uid-b", "a-plain-pod", "uid-c", "uid-d"], 0)}


@pytest.mark.parametrize(
    ("first", "second", "victim"),
    [
        ({"started": "2026-01-01T00:00:00Z"}, {"started": "2026-01-01T00:00:01Z"}, "uid-second"),
        ({"started": "2026-01-01T00:00:01Z"}, {"started": "2026-01-01T00:00:00Z"}, "uid-first"),
        ({}, {"started": "2026-01-01T00:00:00Z"}, "uid-first"),  # not started yet: the youngest
        ({}, {}, "uid-second"),
        ({"owner": "DaemonSet"}, {"owner": "ReplicaSet"}, "uid-second"),
        ({"owner": "ReplicaSet"}, {"owner": "DaemonSet"}, "uid-first"),
        ({"owner": "DaemonSet"}, {"started": "2026-01-01T00:00:00Z"}, "uid-second"),
        ({"owner": "DaemonSet"}, {"priority": 1}, "uid-first"),
        ({"annotations": MIRROR}, {"priority": 1}, "uid-second"),
    ],
)
async def test_of_two_pods_either_of_which_would_do(
    first: dict[str, object], second: dict[str, object], victim: str
) -> None:
    """Lower priority, then no DaemonSet's, then the younger one; never the mirror of a static pod."""
    world = PreemptorOverNodes(1)
    world.hold("first", "n0", "3g.20gb", **first)  # type: ignore[arg-type]
    world.hold("second", "n0", "3g.20gb", **second)  # type: ignore[arg-type]
    assert await world.preempt({"n0": ([], 0)}, "3g.20gb") == {"n0": ([victim], 0)}


@pytest.mark.parametrize(
    ("wanted", "expected"), [("3g.20gb", {"n0": (["uid-other"], 0)}), ("7g.40gb", {})], ids=["other", "nobody"]
)
async def test_a_mirror_pod_that_was_named_is_replaced_or_the_node_dropped(wanted: str, expected: Answer) -> None:
    """Deleting it frees nothing: the kubelet makes it anew."""
    world = PreemptorOverNodes(1)
    world.hold("static", "n0", "3g.20gb", annotations=MIRROR)
    world.hold("other", "n0", "3g.20gb")
    assert await world.preempt({"n0": (["uid-static"], 0)}, wanted) == expected


@pytest.mark.parametrize("order", [["c1", "c2", "d1", "d2"], ["d1", "d2", "c1", "c2"]])
async def test_a_budget_is_asked_for_all_victims_together(order: list[str]) -> None:
    """With one disruption left two pods of one budget do not both go, while others would do."""
    profiles = {"c1": "4g.20gb", "c2": "3g.20gb", "d1": "4g.20gb", "d2": "3g.20gb"}
    world = PreemptorOverNodes(1, budget(1, app="c"), gpus=2)
    for name in order:
        world.hold(name, "n0", profiles[name], labels={"app": name[0]})
    assert await world.preempt({"n0": ([], 0)}) == {"n0": (["uid-d1", "uid-d2"], 0)}


async def test_a_budget_without_labels_protects_its_whole_namespace() -> None:
    """An empty selector selects all pods."""
    world = PreemptorOverNodes(1, budget(1))
    for name, labels in (("x", {"app": "a"}), ("y", {})):
        world.hold(name, "n0", "3g.20gb", labels=labels)
    assert await world.preempt({"n0": ([], 0)}) == {"n0": (["uid-x", "uid-y"], 1)}


# --- over nodes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_named", [False, True], ids=["no victims named", "all victims named"])
async def test_the_best_nodes_come_back_and_not_the_first(is_named: bool) -> None:
    """Of 25 nodes the last five have the victims to take: they are in the answer, wherever their names stand."""
    world = PreemptorOverNodes(25, budget(0, app="guarded"))
    candidates: Answer = {}
    for number, name in enumerate(world.names):
        guarded = number < 20
        labels = {"app": "guarded" if guarded else "free"}
        world.hold(f"p{number}", name, "7g.40gb", priority=9 if guarded else 0, labels=labels)
        candidates[name] = ([f"uid-p{number}"], int(guarded)) if is_named else ([], 0)
    answer = await world.ordered(candidates)
    assert list(answer)[:5] == world.names[20:]
    assert [violations for _, violations in answer.values()] == [0] * 5 + [1] * (CHOICES - 5)


async def test_nodes_are_compared_as_kube_scheduler_compares_them() -> None:
    """By violations, the highest priority, the sum of priorities, the number of victims, and who started latest."""
    world = PreemptorOverNodes(6, budget(0, app="guarded"))
    world.hold("guarded", "n0", "7g.40gb", priority=-5, labels={"app": "guarded"})
    world.hold("high", "n1", "7g.40gb", priority=6)
    for name, where, priority in (("a", "n2", 5), ("b", "n2", 4), ("c", "n3", 5), ("d", "n3", 3)):
        world.hold(name, where, "3g.20gb", priority=priority)
    for name, where, started in (("old", "n4", "2026-01-01T00:00:00Z"), ("young", "n5", "2026-01-02T00:00:00Z")):
        world.hold(name, where, "7g.40gb", priority=5, started=started)
    answer = await world.ordered({name: ([], 0) for name in world.names})
    assert list(answer) == ["n5", "n4", "n3", "n2", "n1", "n0"]


async def test_what_takes_too_long_is_cut_where_little_is_to_be_expected() -> None:
    """Nodes are looked at by what they can cost at best; the answer says how many were not."""
    world = PreemptorOverNodes(4)
    world.preemptor = Preemptor(world.state, world.cluster, work_s=0.0)
    for number, name in enumerate(world.names):
        world.hold(f"p{number}", name, "7g.40gb", priority=10 - number)
    assert await world.preempt({name: ([], 0) for name in world.names}) == {"n3": (["uid-p3"], 0)}
    assert world.note == "3 nodes were not looked at in 0 s"


# --- room that is on its way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [[], ["uid-run-1"]], ids=["by nobody", "by kube-scheduler"])
async def test_nobody_is_evicted_for_room_that_a_pod_leaves_by_itself(named: list[str]) -> None:
    """A pod that is being deleted is answered as the victim: kube-scheduler does not delete it twice, and waits."""
    world = PreemptorOverNodes(1, gpus=2)
    world.hold("run-1", "n0", "7g.40gb")
    world.hold("run-2", "n0", "7g.40gb")
    world.show(pod("run-2", "7g.40gb", node_name="n0", deleted=in_seconds(600)))
    assert await world.preempt({"n0": (named, 0)}) == {"n0": (["uid-run-2"], 0)}


async def test_the_node_comes_back_whose_pods_leave_first() -> None:
    """Of rooms on their way the next one; nodes where somebody would have to be evicted do not come back."""
    world = PreemptorOverNodes(3)
    for number, name in enumerate(world.names):
        world.hold(f"p{number}", name, "7g.40gb", priority=number)
    for number, seconds in ((1, 600), (2, 30)):
        world.show(pod(f"p{number}", "7g.40gb", priority=number, node_name=f"n{number}", deleted=in_seconds(seconds)))
    assert await world.preempt({name: ([], 0) for name in world.names}) == {"n2": (["uid-p2"], 0)}


async def test_only_what_leaves_too_little_room_needs_further_victims() -> None:
    """The room of pods on their way out counts first; for the rest the least important go."""
    world = PreemptorOverNodes(1)
    for name, profile, priority in (("leaving", "3g.20gb", 9), ("a", "2g.10gb", 5), ("b", "2g.10gb", 3)):
        world.hold(name, "n0", profile, priority=priority)
    world.show(pod("leaving", "3g.20gb", priority=9, node_name="n0", deleted=in_seconds(30)))
    assert await world.preempt({"n0": ([], 0)}, "4g.20gb") == {"n0": (["uid-a", "uid-b"], 0)}


async def test_a_pod_that_does_not_end_is_not_waited_for() -> None:
    """Long past its grace period nobody counts on its room, and evicting it again would do nothing."""
    world = PreemptorOverNodes(1, gpus=2)
    world.hold("run-1", "n0", "7g.40gb", priority=9)
    world.hold("stuck", "n0", "7g.40gb")
    world.show(pod("stuck", "7g.40gb", node_name="n0", deleted=in_seconds(-2 * LATE_S)))
    assert await world.preempt({"n0": ([], 0)}) == {"n0": (["uid-run-1"], 0)}


async def test_nobody_is_evicted_for_slices_that_an_agent_gives_back() -> None:
    """The pod is gone, its slices will be: there is nobody to name, so nothing is answered and the pod waits."""
    world = PreemptorOverNodes(1, gpus=2)
    world.hold("run-1", "n0", "7g.40gb")
    gone = world.hold("gone", "n0", "7g.40gb")
    (hold,) = gone.holds
    report: NodeReport = builders.node("n0").gpus_of("a100-40gb", 2).report()
    gpus = [
        builders.node("n0").gpu(uuid=gpu.uuid).allocated("7g.40gb", 0, pod="gone").report().gpus[0]
        if gpu.uuid == hold.gpu
        else gpu
        for gpu in report.gpus
    ]
    world.state.inventory.observe(NodeReport("n0", tuple(gpus)))
    world.state.apply(WatchedKind.POD, Change(ChangeType.DELETED, pod("gone", "7g.40gb", node_name="n0"), "3"))
    assert await world.preempt({"n0": ([], 0)}) == {}
    assert world.note == "nobody is evicted: an agent is giving back slices"


async def test_nobody_is_evicted_where_room_has_arisen_meanwhile() -> None:
    """Whatever other nodes would offer: the pod is tried again and fits."""
    world = PreemptorOverNodes(2)
    world.hold("low", "n0", "7g.40gb")
    assert await world.preempt({"n0": ([], 0), "n1": ([], 0)}) == {}
    assert world.note == "nobody is evicted: n1 has room by now"
