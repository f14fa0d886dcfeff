"""Whom to evict: kube-scheduler's victims completed, budgets respected where that is possible, and counted."""

import asyncio

import msgspec
import pytest

from allocator import errors
from scheduler.cache.disruption_budget import PodDisruptionBudget
from scheduler.extender.preemptor import CHOICES, Preemptor
from simulator.cluster.memory_cluster.faults import Fault
from tests.unit.scheduler.preemptor_over_nodes import PreemptorOverNodes, budget


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["uid-low"], ["uid-low", "uid-lower"]),  # kube-scheduler's victim is not enough
        ([], ["uid-low", "uid-lower"]),  # named by nobody, as kube-scheduler will do for nodes only we refused
        (["uid-lower", "uid-low"], ["uid-lower", "uid-low"]),
    ],
)
async def test_victims_are_completed_until_the_slices_fit(named: list[str], expected: list[str]) -> None:
    """Victims are kept, lower pods are added where their places are needed, and higher ones are never touched."""
    world = PreemptorOverNodes(2)
    world.hold("low", "n0", "3g.20gb", priority=5)
    world.hold("lower", "n0", "3g.20gb", priority=1)
    world.hold("high", "n1", "1g.5gb", priority=100)
    assert await world.preempt({"n0": (named, 1), "n1": ([], 0)}) == {"n0": (sorted(expected), 1)}


async def test_a_node_where_nobody_has_to_go_is_dropped() -> None:
    """Where the pod fits by now nothing is evicted: the next filter call will say so."""
    assert await PreemptorOverNodes(1).preempt({"n0": ([], 0)}) == {}


async def test_there_is_an_end_once_there_is_enough_to_choose_from() -> None:
    """Of thirty nodes on which an eviction helps, kube-scheduler gets some to choose from, not all."""
    world = PreemptorOverNodes(30)
    for name in world.names:
        world.hold(f"low-{name}", name, "3g.20gb", priority=1)
    answer = await world.preempt({name: ([], 0) for name in world.names})
    assert len(answer) == CHOICES
    assert all(victims == [f"uid-low-{name}"] for name, (victims, _) in answer.items())


async def test_a_protected_pod_is_spared_where_others_are_enough() -> None:
    """Of two pods either of which would do, the one that no budget protects goes, though its priority is higher."""
    world = PreemptorOverNodes(1, budget(0, app="chat"))
    for name, priority, app in (("guarded", 1, "chat"), ("free", 2, "batch")):
        world.hold(name, "n0", "3g.20gb", priority=priority, labels={"app": app})
    assert await world.preempt({"n0": ([], 0)}, "3g.20gb") == {"n0": (["uid-free"], 0)}


@pytest.mark.parametrize(
    ("budgets", "named", "violations"),
    [
        ((budget(0, app="a"),), [], 2),  # neither may go
        ((budget(1, app="a"),), [], 1),  # one may
        ((budget(2, app="a"),), [], 0),
        ((budget(1, app="a"),), ["uid-x"], 8),  # the one that may go is kube-scheduler's own victim
        ((budget(0, app="a"), budget(0, "other", app="a")), [], 2),  # a pod that violates two budgets counts once
        ((budget(0, disrupted=["x"], app="a"),), [], 1),  # x is on its way out, and counted already
        ((budget(0, app="b"),), [], 0),
        ((), [], 0),
    ],
)
async def test_victims_that_violate_a_budget_are_counted(
    budgets: tuple[PodDisruptionBudget, ...], named: list[str], violations: int
) -> None:
    """Pods that we add count as kube-scheduler counts its own, after what its victims took of the budgets."""
    world = PreemptorOverNodes(1, *budgets)
    for name in ("x", "y"):
        world.hold(name, "n0", "3g.20gb", labels={"app": "a"})
    before = 7 if named else 0
    assert await world.preempt({"n0": (named, before)}) == {"n0": (["uid-x", "uid-y"], violations)}


async def test_budgets_are_read_once_for_many_pods() -> None:
    """A burst of preemptions costs the API server one list; after a moment it is read again."""
    world = PreemptorOverNodes(1)
    world.hold("low", "n0", "3g.20gb")
    for _ in range(3):
        await world.preempt({"n0": ([], 0)})
    assert world.cluster.read == 1
    world.preemptor = Preemptor(world.state, world.cluster, budgets_ttl_s=0.0)
    for _ in range(2):
        await world.preempt({"n0": ([], 0)})
        await asyncio.sleep(0)
    assert world.cluster.read == 3


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ([], {}),  # nobody's budgets are known
        (["uid-low"], {}),  # kube-scheduler's victim alone does not make room
        (["uid-low", "uid-other"], {"n0": (["uid-low", "uid-other"], 3)}),  # its own victims do: it has read them
    ],
)
async def test_no_pod_is_added_whose_budgets_could_not_be_read(
    named: list[str], expected: dict[str, tuple[list[str], int]]
) -> None:
    """A refused list of budgets is no leave to evict; kube-scheduler's own victims stand; the answer says so."""
    world = PreemptorOverNodes(1)
    for name in ("low", "other"):
        world.hold(name, "n0", "3g.20gb")
    world.cluster.faults.add(Fault("list", "poddisruptionbudgets", errors.RefusedError("forbidden")))
    assert await world.preempt({"n0": (named, 3)}) == expected
    assert world.note == ("no pods but those named are evicted: PodDisruptionBudgets could not be read: forbidden")


async def test_budgets_of_before_do_not_count_once_they_cannot_be_read() -> None:
    """What budgets allowed a while ago says nothing about now."""
    world = PreemptorOverNodes(1)
    world.hold("low", "n0", "3g.20gb")
    world.preemptor = Preemptor(world.state, world.cluster, budgets_ttl_s=0.0)
    assert await world.preempt({"n0": ([], 0)}) == {"n0": (["uid-low"], 0)}
    world.cluster.faults.add(Fault("list", "poddisruptionbudgets", errors.UnreachableError("no answer")))
    await asyncio.sleep(0)
    assert await world.preempt({"n0": ([], 0)}) == {}


async def test_a_budget_that_cannot_be_read_protects_its_namespace_only() -> None:
    """Pods of a namespace with an unreadable budget are no victims; those of others are; the answer names it."""
    strictest = msgspec.structs.replace(budget(0), unreadable=True)
    elsewhere = msgspec.convert({"name": "pdb", "namespace": "elsewhere"}, type(strictest.metadata))
    for unreadable, victims in (
        (strictest, {}),
        (msgspec.structs.replace(strictest, metadata=elsewhere), {"n0": (["uid-low"], 0)}),
    ):
        world = PreemptorOverNodes(1, unreadable)
        world.hold("low", "n0", "3g.20gb", labels={"app": "a"})
        assert await world.preempt({"n0": ([], 0)}) == victims
        assert f"no pods of {unreadable.metadata.namespace} are evicted but those named" in world.note
