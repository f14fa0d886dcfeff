"""Fair shares against the rule itself, the textbook's algorithm, and a ledger counted anew."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from allocator.claims.ledger import ClaimEvent, Ledger
from allocator.eligibility.constraints import PodConstraints
from allocator.queueing.fair_shares import HeldSlices, Unit, dominant_share, fair_order
from allocator.queueing.queued_pod import QueuedPod
from tests.builders import claim, hold, request

FLEET = {"a": 9, "b": 18}
MODELS = {"g0": "a", "g1": "b", "g2": ""}  # by GPU
NAMESPACES = ("n0", "n1", "n2", "n3")
Demand = Mapping[str, int]


@dataclass
class Cluster:
    """What namespaces hold of a fleet, and what each pod would take."""

    demands: Mapping[str, Demand]  # by UID
    held: dict[str, Counter[str]]

    def share(self, namespace: str) -> Fraction:
        """The dominant share, exactly."""
        return max((Fraction(self.held[namespace][model], total) for model, total in FLEET.items()), default=Fraction())

    def place(self, pod: QueuedPod) -> bool:
        """Give a pod what it asks for if the fleet has so much left."""
        demand = self.demands[pod.uid]
        left = {model: total - sum(held[model] for held in self.held.values()) for model, total in FLEET.items()}
        fits = all(number <= left[model] for model, number in demand.items())
        if fits:
            self.held[pod.namespace].update(demand)
        return fits


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Sequence[Unit], Cluster]:
    """Up to a dozen pods of four namespaces and two priorities, and what is held before."""
    held = {name: Counter({model: draw(st.integers(0, 2)) for model in FLEET}) for name in NAMESPACES}
    demands, pods = {}, []
    for at in range(draw(st.integers(0, 12))):
        demands[f"u{at}"] = {model: draw(st.integers(0, 6)) for model in FLEET}
        namespace, priority = draw(st.sampled_from(NAMESPACES)), draw(st.integers(0, 1))
        pods.append(_pod(f"u{at}", namespace, priority, draw(st.integers(0, 3))))
    return [[pod] for pod in sorted(pods, key=lambda pod: pod.order)], Cluster(demands, held)


@given(clusters())
def test_nobody_is_passed_over_while_its_share_is_smaller(case: tuple[Sequence[Unit], Cluster]) -> None:
    """Whoever is next has the highest priority left and the smallest share there; of equal shares, the oldest pod."""
    units, cluster = case
    left = list(units)
    for unit in fair_order(units, _floats(cluster)):
        rivals = [other for other in left if other[0].priority == left[0][0].priority]
        assert unit == min(rivals, key=lambda other: (cluster.share(other[0].namespace), other[0].order))
        left.remove(unit)
        cluster.place(unit[0])
    assert not left


@given(clusters())
def test_the_same_queue_has_the_same_order(case: tuple[Sequence[Unit], Cluster]) -> None:
    """The order is a permutation of what waits, and nothing but the queue and the shares decides it."""
    units, cluster = case
    orders = [[unit[0].uid for unit in fair_order(units, _floats(cluster))] for _ in range(2)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(unit[0].uid for unit in units)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any), min_size=1, max_size=4))
def test_filling_ends_where_the_textbook_ends(per_task: list[tuple[int, int]]) -> None:
    """With users who want any number of equal tasks the allocation is that of DRF's published algorithm."""
    names = NAMESPACES[: len(per_task)]
    demand_of = {name: dict(zip(FLEET, task, strict=True)) for name, task in zip(names, per_task, strict=True)}
    units = [[_pod(f"{name}-{at}", name, 0, at)] for at in range(20) for name in names]
    demands = {unit[0].uid: demand_of[unit[0].namespace] for unit in units}
    cluster = Cluster(demands, {name: Counter() for name in names})
    for unit in fair_order(units, _floats(cluster)):
        cluster.place(unit[0])
    assert {name: +held for name, held in cluster.held.items()} == _textbook(demand_of)


def _textbook(demand_of: Mapping[str, Demand]) -> dict[str, Counter[str]]:
    """Algorithm 1 of the paper, going on with the others once a user's task does not fit.

    Of users with equal shares, on whom the paper says nothing, the one with the older task: with fewer tasks so far.
    """
    tasks: Counter[str] = Counter()
    consumed: Counter[str] = Counter()
    given_to = {name: Counter[str]() for name in demand_of}
    share = dict.fromkeys(demand_of, Fraction())
    active = sorted(demand_of)
    while active:
        user = min(active, key=lambda name: (share[name], tasks[name], name))
        tasks[user] += 1
        if all(consumed[model] + number <= FLEET[model] for model, number in demand_of[user].items()):
            consumed.update(demand_of[user])
            given_to[user].update(demand_of[user])
            share[user] = max(Fraction(given_to[user][model], FLEET[model]) for model in FLEET)
        else:
            active.remove(user)
    return {name: +held for name, held in given_to.items()}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("open", "free", "cut", "move"))), max_size=30))
def test_what_is_held_is_what_the_ledger_says(steps: list[tuple[int, str]]) -> None:
    """After any history of claims the sums are those of the ledger counted anew."""
    ledger = Ledger()
    followed = HeldSlices(lambda _, gpu: MODELS[gpu])
    ledger.on_change = followed.changed
    for at, step in steps:
        _happen(ledger, at, step)
    anew = HeldSlices(lambda _, gpu: MODELS[gpu], ledger)
    for namespace in NAMESPACES:
        counted = Counter[str]()
        for h in [h for found in ledger if found.namespace == namespace for h in found.holds]:
            counted[MODELS[h.gpu]] += h.placement.size
        assert followed.of(namespace) == anew.of(namespace) == dict(counted)


def _happen(ledger: Ledger, at: int, step: str) -> None:
    known, name = ledger.get(f"uid-{at}"), str(at)
    if known is None:
        holds = [hold(f"g{at % 3}", "3g.20gb", 4), hold("g1", "1g.5gb", at)]
        ledger.open(replace(claim(name, "n", *holds), namespace=NAMESPACES[at % 2]))
    elif step == "move":
        ledger.relocate(known.uid, (hold("g0", "2g.10gb", 0),))
    elif step != "open":
        ledger.apply(known.uid, ClaimEvent(step))


def _floats(cluster: Cluster) -> Callable[[str], float]:
    return lambda namespace: dominant_share(cluster.held[namespace], FLEET)


def _pod(uid: str, namespace: str, priority: int, age: int) -> QueuedPod:
    created = f"2026-01-01T00:00:{age:02}Z"
    return QueuedPod(uid, namespace, uid, "1", priority, created, request("1g.5gb"), PodConstraints())
