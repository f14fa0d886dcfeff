"""The exact search for a gang's places beside an oracle that tries every place of every pod (docs/queue.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import hypothesis.strategies as st
from hypothesis import given, settings

from allocator.claims.inventory import Inventory
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.constraints import PodConstraints
from allocator.placement.fitting import GpuState
from allocator.placement.room import ALL_ROOM, LeftRoom
from allocator.queueing.gang import Gang
from allocator.queueing.gang_holding import GangHolding, GangVerdict
from allocator.queueing.gang_search import GangSearch, SearchEnd
from allocator.queueing.queued_pod import QueuedPod
from tests.builders import node, request

MODELS = ("a100-40gb", "a30-24gb")
PROFILES = ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb", "1g.6gb", "2g.12gb", "4g.24gb", "1g.5gb+me")


@dataclass
class Rules:
    """Nodes with so many CPUs each; some pods may run on the first node only."""

    nodes: dict[str, int]
    used: dict[str, int]

    def eligible(self, pod: QueuedPod) -> Sequence[str]:
        """See NodeRules."""
        return list(self.nodes)[:1] if pod.constraints.node_name else list(self.nodes)

    def takes(self, pod: QueuedPod, node: str) -> bool:
        """See NodeRules."""
        return self.used[node] + pod.constraints.requests.cpu_milli <= self.nodes[node]

    def left(self, pod: QueuedPod, node: str) -> LeftRoom:  # noqa: ARG002
        """Everything."""
        return ALL_ROOM

    def held(self, pod: QueuedPod, node: str) -> None:
        """See NodeRules."""

    def is_certain(self, pod: QueuedPod, node: str) -> bool:  # noqa: ARG002
        """Everything is judged."""
        return True

    def given_up(self, pod: QueuedPod) -> None:
        """See NodeRules."""


@dataclass
class Promises:
    """Counts what pods take of a node's CPUs."""

    inventory: Inventory
    rules: Rules

    def held(self, pod: QueuedPod, node: str) -> bool:
        """See Promises."""
        self.rules.used[node] += pod.constraints.requests.cpu_milli
        return True

    def given_back(self, pod: QueuedPod) -> None:
        """See Promises."""
        claim = self.inventory.ledger.get(pod.uid)
        assert claim is not None
        self.rules.used[claim.node] -= pod.constraints.requests.cpu_milli
        self.inventory.refuse(pod.uid)


@dataclass
class Case:
    """A fleet with some slices taken, and a gang."""

    inventory: Inventory
    rules: Rules
    unit: list[QueuedPod]

    @property
    def promises(self) -> Promises:
        """Where promises are noted."""
        return Promises(self.inventory, self.rules)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to three GPUs on up to two nodes, and up to five pods."""
    inventory, cpus = Inventory(), dict[str, int]()
    for name in ("n1", "n2")[: draw(st.integers(1, 2))]:
        builder = node(name)
        for model in draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=2)):
            builder = builder.gpu(model)
        inventory.nodes.add(name)
        inventory.observe(builder.report())
        cpus[name] = draw(st.sampled_from((1, 2, 3, 100)))
        for number, profile in enumerate(draw(st.lists(st.sampled_from(PROFILES), max_size=5))):
            inventory.reserve(f"{name}-{number}", "default", f"{name}-{number}", request(profile), name)
    asked = draw(st.lists(st.lists(st.sampled_from(PROFILES), min_size=1, max_size=2), min_size=1, max_size=5))
    unit = [_pod(number, profiles, pinned=draw(st.booleans())) for number, profiles in enumerate(asked)]
    return Case(inventory, Rules(cpus, dict.fromkeys(cpus, 0)), unit)


def _pod(number: int, profiles: Sequence[str], *, pinned: bool) -> QueuedPod:
    asks = PodConstraints(requests=Amounts(cpu_milli=1), node_name="n1" if pinned else "")
    gang = Gang("default", "g", 1)
    return QueuedPod(f"g{number}", "default", f"g{number}", "1", 0, "", request(*profiles), asks, gang=gang)


def fits(case: Case) -> bool:
    """Whether there is a place for each of them, by trying them all."""
    gpus = {name: list(case.inventory.fleet.gpus(name)) for name in case.rules.nodes}
    return _fits(gpus, dict(case.rules.nodes), [(pod, case.rules.eligible(pod)) for pod in case.unit])


def _fits(gpus: dict[str, list[GpuState]], cpus: dict[str, int], pods: list[tuple[QueuedPod, Sequence[str]]]) -> bool:
    if not pods:
        return True
    (pod, nodes), *others = pods
    for name in nodes:
        if cpus[name]:
            less = {**cpus, name: cpus[name] - 1}
            profiles = [slot.profile for slot in pod.request.slots]
            if any(_fits({**gpus, name: after}, less, others) for after in _ways(gpus[name], profiles)):
                return True
    return False


def _ways(gpus: list[GpuState], profiles: list[str]) -> Iterator[list[GpuState]]:
    if not profiles:
        yield gpus
        return
    for index, (geometry, state) in enumerate(gpus):
        if profiles[0] in geometry.profile_index:
            for after in {int(geometry.step[state, i]) for i in geometry.placements_of(profiles[0])} - {-1}:
                yield from _ways([*gpus[:index], (geometry, after), *gpus[index + 1 :]], profiles[1:])


@given(case=cases())
@settings(deadline=None)
def test_places_are_found_whenever_there_are_some(case: Case) -> None:
    """The search ends with places exactly where trying everything does, and never with its budget in small cases."""
    search = GangSearch(case.inventory, case.unit, case.rules).run()
    assert search.end is (SearchEnd.PLACES if fits(case) else SearchEnd.NONE)
    assert {place.pod.uid for place in search.found} == {pod.uid for pod in case.unit if search.found}


@given(case=cases())
@settings(deadline=None)
def test_a_gang_is_held_whole_whenever_it_fits(case: Case) -> None:
    """All pods hold legal places, or none holds any; refused is only what does not fit."""
    before = {name: case.inventory.fleet.gpus(name) for name in case.rules.nodes}
    expected = fits(case)
    attempt = GangHolding(case.inventory, case.unit, case.rules, case.promises)
    for _ in attempt.steps():
        pass
    case.inventory.check()
    held = [pod for pod in case.unit if case.inventory.ledger.get(pod.uid) is not None]
    assert (attempt.verdict in (GangVerdict.GREEDY, GangVerdict.EXACT)) is expected
    assert len(held) == (len(case.unit) if expected else 0)
    assert all(case.rules.used[name] <= cpus for name, cpus in case.rules.nodes.items())
    attempt.give_back()
    assert {name: case.inventory.fleet.gpus(name) for name in case.rules.nodes} == before


@given(case=cases(), budget=st.integers(0, 3))
@settings(deadline=None)
def test_without_a_budget_nothing_is_said_that_is_not_known(case: Case, budget: int) -> None:
    """A search that ends with its budget claims neither places nor that there are none."""
    search = GangSearch(case.inventory, case.unit, case.rules, budget=budget).run()
    if search.end is not SearchEnd.BUDGET:
        assert (search.end is SearchEnd.PLACES) is fits(case)


@given(case=cases(), leaves=st.integers(0, 4))
@settings(deadline=None)
def test_a_gang_that_loses_a_pod_meanwhile_holds_nothing(case: Case, leaves: int) -> None:
    """Where a pod is not to have its place any more, the others get none either."""

    class Leaving(Promises):
        def held(self, pod: QueuedPod, node: str) -> bool:
            return pod.uid != f"g{leaves % len(case.unit)}" and super().held(pod, node)

    attempt = GangHolding(case.inventory, case.unit, case.rules, Leaving(case.inventory, case.rules))
    for _ in attempt.steps():
        pass
    assert attempt.verdict in (GangVerdict.OVERTAKEN, GangVerdict.NO_ROOM)
    assert not any(case.inventory.ledger.get(pod.uid) for pod in case.unit)
    assert set(case.rules.used.values()) == {0}
    case.inventory.check()


def test_a_gang_fits_in_an_order_that_is_not_the_greedy_one() -> None:
    """What only the search finds: the pod that may run anywhere must not take the place of the one that may not."""
    inventory = Inventory()
    for name in ("n1", "n2"):
        inventory.nodes.add(name)
        inventory.observe(node(name).gpu("a100-40gb").report())
    unit = [_pod(0, ["7g.40gb"], pinned=False), _pod(1, ["7g.40gb"], pinned=True)]
    case = Case(inventory, Rules({"n1": 100, "n2": 100}, {"n1": 0, "n2": 0}), unit)
    attempt = GangHolding(inventory, [replace(pod) for pod in unit], case.rules, case.promises)
    for _ in attempt.steps():
        pass
    assert attempt.verdict is GangVerdict.EXACT
    assert {pod.uid: (inventory.ledger.get(pod.uid) or unit[0]).node for pod in unit} == {"g0": "n2", "g1": "n1"}
