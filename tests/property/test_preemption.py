"""Victims of a preemption against a brute force of kube-scheduler's rule, over random small nodes.

The brute force knows nothing of reprieves: it tries every set of victims, and takes the one that lets the pods stay in
the order in which kube-scheduler would have them stay. Whether a set makes room it finds out by laying out the slices.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from allocator.claims.ledger import Claim
from allocator.mig import gpu_models
from tests.builders import request
from tests.unit.scheduler.preemptor_over_nodes import PreemptorOverNodes, budget, pod

PROFILES = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
CATALOGUE = gpu_models.find("a100-40gb")
STARTS = (None, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-02T00:00:00Z")
URGENT = 5  # its priority


@dataclass(frozen=True)
class Running:
    """A pod on the node."""

    name: str
    profiles: Sequence[str]
    priority: int
    started: str | None
    owner: str
    label: str

    @property
    def rank(self) -> tuple[int, bool, str, str]:
        """Kubernetes: higher priority, then older; of one priority those of DaemonSets before all others."""
        return -self.priority, self.owner != "DaemonSet", self.started or "9999", f"uid-{self.name}"


pods = st.builds(
    Running,
    name=st.just(""),
    profiles=st.lists(st.sampled_from(PROFILES), min_size=1, max_size=2),
    priority=st.integers(0, URGENT),
    started=st.sampled_from(STARTS),
    owner=st.sampled_from(("ReplicaSet", "ReplicaSet", "DaemonSet")),
    label=st.sampled_from("xyz"),
)


def fits(taken: Sequence[Sequence[int]], wanted: Sequence[str]) -> bool:
    """Whether these slices can be laid out on GPUs (masks of what is taken on each) in any way."""
    if not wanted:
        return True
    profile = next(profile for profile in CATALOGUE.profiles if profile.name == wanted[0])
    for at, masks in enumerate(taken):
        for start in profile.starts:
            mask = CATALOGUE.placement(profile.name, start).mask
            if not any(mask & other for other in masks):
                after = [*taken[:at], [*masks, mask], *taken[at + 1 :]]
                if fits(after, wanted[1:]):
                    return True
    return False


def kubernetes(
    claims: Iterable[Claim],
    running: Sequence[Running],
    gpus: Sequence[str],
    wanted: Sequence[str],
    allowed: dict[str, int],
) -> tuple[list[str], int] | None:
    """The victims, the most important first, and the number of violations; None if no eviction helps."""
    lower = sorted((pod for pod in running if pod.priority < URGENT), key=lambda pod: pod.rank)
    left, violating = dict(allowed), set[str]()
    for victim in lower:
        if victim.label in left:
            left[victim.label] -= 1
            if left[victim.label] < 0:
                violating.add(victim.name)
    turn = sorted(lower, key=lambda pod: pod.name not in violating)  # stable: by importance within each half
    best: tuple[tuple[bool, ...], set[str]] | None = None
    holds = [(claim.name, hold.gpu, hold.placement.mask) for claim in claims for hold in claim.holds]
    for stays in product((True, False), repeat=len(turn)):
        going = {victim.name for victim, stay in zip(turn, stays, strict=True) if not stay}
        taken = [[mask for name, on, mask in holds if on == gpu and name not in going] for gpu in gpus]
        if (best is None or stays > best[0]) and fits(taken, sorted(wanted, reverse=True)):
            best = (stays, going)
    if best is None:
        return None
    return [f"uid-{victim.name}" for victim in lower if victim.name in best[1]], len(best[1] & violating)


@given(
    st.lists(pods, max_size=6),
    st.lists(st.sampled_from(PROFILES), min_size=1, max_size=2),
    st.integers(1, 2),
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), max_size=2),
)
def test_victims_are_those_of_kubernetes(
    drawn: list[Running], wanted: list[str], gpus: int, allowed: dict[str, int]
) -> None:
    """On any node the same pods go, in the same order, with the same number of violations."""
    world = PreemptorOverNodes(1, *(budget(number, label, app=label) for label, number in allowed.items()), gpus=gpus)
    running = []
    for number, drawn_pod in enumerate(drawn):
        name = f"p{number}"
        made = pod(
            name,
            *drawn_pod.profiles,
            priority=drawn_pod.priority,
            node_name="n0",
            owner=drawn_pod.owner,
            started=drawn_pod.started,
            labels={"app": drawn_pod.label},
        )
        claim = world.state.inventory.reserve(f"uid-{name}", "default", name, request(*drawn_pod.profiles), "n0")
        if isinstance(claim, Claim):
            world.show(made)
            running.append(
                Running(
                    name, drawn_pod.profiles, drawn_pod.priority, drawn_pod.started, drawn_pod.owner, drawn_pod.label
                )
            )
    uuids = list(world.state.inventory.gpus_without("n0", frozenset()))
    expected = kubernetes(world.state.inventory.ledger, running, uuids, wanted, allowed)
    answer = asyncio.run(world.ordered({"n0": ([], 0)}, *wanted, priority=URGENT))
    assert answer == ({"n0": expected} if expected and expected[0] else {})
