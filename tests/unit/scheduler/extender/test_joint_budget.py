"""Ever other mixes of slices wait their turn, and nobody else does."""

import asyncio

import msgspec

from kubeclient.objects import Pod
from scheduler.extender.extender import FilterAnswer
from scheduler.extender.joint_budget import MAX_NAMESPACES, JointBudget
from tests.unit.scheduler.extender_over_nodes import ExtenderOverNodes, a_pod


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_each_namespace_has_its_own_budget_that_fills_again() -> None:
    """What one namespace has spent another still has; a debt is waited for, no longer than it takes and the pause."""
    clock = Clock()
    budget = JointBudget(burst_s=1.0, share=0.25, pause_s=1.0, clock=clock)
    budget.spend("a", 0.5)
    assert budget.wait_s("a") == 0.0
    budget.spend("a", 1.0)
    assert (budget.wait_s("a"), budget.wait_s("b")) == (2.0, 0.0)
    clock.now = 1.5
    assert budget.wait_s("a") == 1.0
    clock.now = 2.0
    assert budget.wait_s("a") == 0.0
    clock.now = 1000.0
    budget.spend("a", 50.0)
    assert budget.wait_s("a") == 4.0


def test_what_is_remembered_of_namespaces_is_bounded() -> None:
    """Of more namespaces in debt than are remembered, the first are forgotten."""
    budget = JointBudget(burst_s=1.0, clock=Clock())
    for number in range(MAX_NAMESPACES + 1):
        budget.spend(f"namespace-{number}", 2.0)
    assert budget.wait_s("namespace-0") == 0.0
    assert budget.wait_s("namespace-1") > 0.0


def elsewhere(pod: Pod) -> Pod:
    """The pod in another namespace."""
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, namespace="other"))


async def test_other_mixes_wait_their_turn_and_others_do_not() -> None:
    """A namespace over its budget is refused new mixes, with the reason; other namespaces, single slices and mixes that
    were asked for before are not.
    """
    clock = Clock()
    verbs = ExtenderOverNodes(3, joint_budget=JointBudget(burst_s=1e-9, share=0.5, pause_s=0.0, clock=clock))

    async def ask(pod: Pod) -> FilterAnswer:
        return await verbs.extender.filter(pod, verbs.names)

    assert (await ask(a_pod("first", "1g.5gb", "3g.20gb"))).nodes
    refused = await ask(a_pod("second", "2g.10gb", "3g.20gb"))
    assert (refused.nodes, refused.failed) == ((), {})
    assert set(refused.unresolvable) == set(verbs.names)
    assert set(refused.unresolvable.values()) == {
        "2g.10gb + 3g.20gb waits its turn: its namespace asks for many different mixes of slices"
    }
    assert (await ask(elsewhere(a_pod("third", "1g.10gb", "3g.20gb")))).nodes
    assert (await ask(a_pod("single", "1g.5gb"))).nodes
    assert (await ask(a_pod("again", "1g.5gb", "3g.20gb"))).nodes
    clock.now = 1e9
    assert (await ask(a_pod("second", "2g.10gb", "3g.20gb"))).nodes


async def test_pods_that_wait_their_turn_are_tried_again() -> None:
    """Once a namespace may ask again, its refused pods are requeued, although no room arose."""
    verbs = ExtenderOverNodes(1, joint_budget=JointBudget(burst_s=1e-9, pause_s=0.0, clock=Clock()))
    await verbs.extender.filter(a_pod("first", "1g.5gb", "3g.20gb"), verbs.names)
    await verbs.extender.filter(a_pod("second", "2g.10gb", "3g.20gb"), verbs.names)
    verbs.room_arose.clear()
    async with asyncio.timeout(10):
        await verbs.room_arose.wait()
    assert verbs.state.waiting.refused == {"uid-second"}
