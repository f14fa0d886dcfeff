"""Turns: who is looked at first, and where each pod is said to stand."""

import pytest

from allocator.claims.ledger import ClaimState
from allocator.eligibility.constraints import PodConstraints
from allocator.placement import policy
from allocator.queueing.life import QueueEvent
from allocator.queueing.queued_pod import QueuedPod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.queueing.turns import Turns
from tests.builders import node, request


@pytest.fixture
def state() -> ClusterCache:
    """One node with one GPU of seven 1g.5gb."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    state.inventory.observe(node("n").gpu("a100-40gb").report())
    return state


def test_namespaces_get_equal_parts_of_a_full_fleet(state: ClusterCache) -> None:
    """A namespace that came later with few pods gets as much as one that came first with many."""
    turns = Turns(state, fair=True)
    _come(state, "many", 12)
    _come(state, "few", 3)
    _serve(state, turns)
    assert _held(state) == {"many": 4, "few": 3}
    assert state.queue.position("many-4") == 0
    assert state.queue.position("many-11") == 7


def test_without_fair_shares_the_oldest_come_first(state: ClusterCache) -> None:
    """The order is then priority and age alone."""
    turns = Turns(state, fair=False)
    _come(state, "many", 12)
    _come(state, "few", 3)
    _serve(state, turns)
    assert _held(state) == {"many": 7}
    assert state.queue.position("few-2") == 7


def test_claims_from_before_count(state: ClusterCache) -> None:
    """What a namespace holds when the service takes over counts, and what it gives back does not count any more."""
    for at in range(5):
        state.inventory.reserve(f"r{at}", "many", f"r{at}", request("1g.5gb"), "n")
    turns = Turns(state, fair=True)
    state.inventory.refuse("r0")
    _come(state, "many", 3)
    _come(state, "few", 3)
    _serve(state, turns)
    assert _held(state) == {"many": 4, "few": 3}


def _come(state: ClusterCache, namespace: str, number: int) -> None:
    day = 1 + len({pod.namespace for pod in state.queue})
    for at in range(number):
        name, created = f"{namespace}-{at}", f"2026-01-{day:02}T00:00:{at:02}Z"
        pod = QueuedPod(name, namespace, name, "1", 0, created, request("1g.5gb"), PodConstraints())
        state.queue.add(pod)


def _serve(state: ClusterCache, turns: Turns) -> None:
    for (pod,) in turns.taken(state.queue.waiting()):
        claim = state.inventory.reserve(pod.uid, pod.namespace, pod.name, pod.request, "n")
        if getattr(claim, "state", None) is ClaimState.RESERVED:
            state.queue.apply(pod.uid, QueueEvent.HOLD, node="n")


def _held(state: ClusterCache) -> dict[str, int]:
    namespaces = [claim.namespace for claim in state.inventory.ledger]
    return {namespace: namespaces.count(namespace) for namespace in dict.fromkeys(namespaces)}
