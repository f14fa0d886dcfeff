"""Plan, capacity and repack against brute force on small fleets, which shares no code with them.

Geometry is the one that `tests.oracles` reads from NVIDIA's tables. Pods of several slices, several GPU models,
unpublished memory, priorities and movability, budgets, pinned and idle slices are all drawn.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import settings

from allocator.claims.snapshot_file import Saved
from allocator.mig import gpu_models
from allocator.planning.packing.relocation import MovableJob, RelocationProblem
from allocator.planning.repack import problem
from allocator.planning.repack.problem import RepackLimits, Rule
from tests import oracles, plain_answers, relocation_oracle
from tests.clusters import ClusterBuilder, cluster

SEEDS = range(min(40, settings().max_examples))
SMALL = ("a30-24gb", "a100-40gb", "b300-269gb")

Gpu = tuple[str, oracles.Items]  # model, what is on it
Node = tuple[Gpu, ...]
Pod = tuple[str, ...]


def fit(nodes: tuple[Node, ...], pods: tuple[Pod, ...]) -> bool:
    """Whether all pods fit, each on one node, by trying every node and place."""

    @cache
    def rest_fits(nodes_: tuple[Node, ...], number: int) -> bool:
        if number == len(pods):
            return True
        for index in range(len(nodes_)):
            for after in hosted(nodes_[index], pods[number]):
                if rest_fits((*nodes_[:index], after, *nodes_[index + 1 :]), number + 1):
                    return True
        return False

    return rest_fits(nodes, 0)


@cache
def hosted(node: Node, pod: Pod) -> frozenset[Node]:
    """Every way a node looks with this pod on it."""
    if not pod:
        return frozenset({node})
    found: set[Node] = set()
    for index, (model, there) in enumerate(node):
        for item in oracles.additions(oracles.published_chip(model), there):
            if item[0] == pod[0]:
                after = (*node[:index], (model, there | {item}), *node[index + 1 :])
                found |= hosted(after, pod[1:])
    return frozenset(found)


def drawn(dice: random.Random) -> tuple[Saved, tuple[Node, ...], list[Pod]]:
    """A small cluster, the same as plain values, and pods to ask about."""
    built, nodes = cluster(), []
    pods = 0
    models = dice.sample(SMALL, dice.choice((1, 1, 2)))
    for number in range(dice.choice((1, 2))):
        built = built.node(f"n{number}")
        gpus: list[Gpu] = []
        for _ in range(dice.choice((1, 1, 2))):
            model = dice.choice(models)
            built = built.gpu(model)
            there: oracles.Items = frozenset()
            for _ in range(dice.randrange(3)):
                options = sorted(oracles.additions(oracles.published_chip(model), there))
                if options:
                    item = dice.choice(options)
                    there |= {item}
                    built = _occupied(dice, built, pods, item)
                    pods += 1
            gpus.append((model, there))
        nodes.append(tuple(gpus))
    offered = sorted({p.name for node in nodes for model, _ in node for p in gpu_models.find(model).profiles})
    asked = [tuple(sorted(dice.choices(offered, k=dice.choice((1, 1, 2))))) for _ in range(dice.choice((1, 2, 2)))]
    return built.saved(), tuple(nodes), asked


def _occupied(dice: random.Random, built: ClusterBuilder, number: int, item: oracles.Item) -> ClusterBuilder:
    place = f"{item[0]}@{item[1]}"
    if dice.random() < 0.15:
        return built.foreign(place)
    state = "reserved" if dice.random() < 0.1 else "ready"
    movable, priority = dice.random() < 0.7, dice.choice((0, 0, 5))
    return built.pod(f"p{number}", place, state=state, movable=movable, priority=priority)


def requests(pods: Sequence[Pod]) -> list[dict[str, Any]]:
    return [{"profiles": dict(Counter(pod))} for pod in pods]


def wider(nodes: tuple[Node, ...], model: str, gpus: int) -> tuple[Node, ...]:
    """More GPUs on nodes as large as the largest that there is."""
    per_node = max(map(len, nodes))
    empty: Gpu = (model, frozenset())
    sizes = [per_node] * (gpus // per_node) + ([gpus % per_node] if gpus % per_node else [])
    return (*nodes, *((empty,) * size for size in sizes))


def swapped(nodes: tuple[Node, ...], pods: Sequence[Pod]) -> int | None:
    """The fewest slices in another profile with which all pods fit; None if there is no way."""
    profiles: dict[str, list[int | None]] = {}
    for model in dict.fromkeys(model for node in nodes for model, _ in node):
        for profile in gpu_models.find(model).profiles:
            profiles.setdefault(profile.name, []).append(profile.memory_mib)

    def serves(name: str, other: str) -> bool:
        marks = [re.sub(r"^[^+-]*", "", text) for text in (name, other)]
        mib = [profiles[name], profiles[other]]
        if all(all(of_name) for of_name in mib):
            least = [min(value for value in of_name if value) for of_name in mib]
        else:
            least = [int(re.findall(r"\.(\d+)gb", text)[0]) for text in (name, other)]
        return marks[0] == marks[1] and least[1] >= least[0]

    flat = [name for pod in pods for name in pod]
    choices = [[name, *(other for other in profiles if other != name and serves(name, other))] for name in flat]
    best: int | None = None
    for given in product(*choices):
        number = sum(a != b for a, b in zip(flat, given, strict=True))
        if best is None or number < best:
            names = iter(given)
            if fit(nodes, tuple(tuple(sorted(next(names) for _ in pod)) for pod in pods)):
                best = number
    return best


@pytest.mark.parametrize("seed", SEEDS)
def test_capacity_is_what_trying_everything_finds(seed: int) -> None:
    """Whether pods fit, the fewest GPUs and swaps that make them, and the verdict where there are none."""
    saved, nodes, pods = drawn(random.Random(seed))
    found = plain_answers.capacity({"profiles": [], "requests": requests(pods)}, saved)["requests"]
    assert found["fit"] is fit(nodes, tuple(pods))
    if found["fit"]:
        return
    changes = {change["kind"]: change for change in found["changes"]}
    verdicts = {entry["kind"]: entry["verdict"] for entry in found["no_changes"]}
    assert set(changes) | set(verdicts) == {"moves", "profile", "gpus"}
    fewest = swapped(nodes, pods)
    assert (changes["profile"]["slices"] if "profile" in changes else None) == fewest
    assert "profile" in changes or verdicts["profile"] == "none"
    models = {model for node in nodes for model, _ in node}
    enough = [n for n in range(1, 5) if any(fit(wider(nodes, model, n), tuple(pods)) for model in models)]
    if "gpus" in changes:
        assert changes["gpus"]["gpus"] == min(enough)
        assert changes["gpus"]["at_least"] <= min(enough)
    else:
        assert (verdicts["gpus"], enough) == ("none", [])


def lifted(saved: Saved, limits: RepackLimits, pods: Sequence[Pod], ignored: Sequence[Rule]) -> int | None:
    """The least cost of any sequence of restarts without some rules; None if there is none."""
    fleet = problem.build(saved, limits, ignored)
    budgets = () if Rule.BUDGETS in ignored else fleet.budgets(saved, limits)
    jobs = tuple(pod.job for pod in fleet.pods)
    asked = RelocationProblem(fleet.bins, jobs, tuple(MovableJob(pod) for pod in pods), budgets=budgets)
    return relocation_oracle.cheapest(asked, 4 if Rule.BUDGETS in ignored else limits.moves)


@pytest.mark.parametrize("seed", SEEDS)
def test_repacks_cost_and_are_refused_as_trying_everything_says(seed: int) -> None:
    """The cheapest repack, and of a refusal the first rule without which, alone, there would be one."""
    saved, _, pods = drawn(random.Random(1000 + seed))
    document = {"requests": requests(pods), "budgets": {"moves": 2}}
    limits = RepackLimits(2)
    answer = plain_answers.repack(document, saved)
    least = lifted(saved, limits, pods, ())
    assert answer["possible"] is (least is not None)
    if least is not None:
        assert (answer["cost"]["total"], answer["optimal"]) == (least, True)
        return
    first = next((rule for rule in Rule if lifted(saved, limits, pods, (rule,)) is not None), None)
    if first is not None:
        assert answer["reason"].partition(" (")[0] == f"kept from it by {first.value.partition(' (')[0]}"
        return
    together = any(
        lifted(saved, limits, pods, rules) is not None for n in (2, 3, 4, 5) for rules in combinations(Rule, n)
    )
    assert together == answer["reason"].endswith("together") or "decided" in answer["reason"]


def fillings(model: str, there: oracles.Items) -> frozenset[tuple[tuple[str, int], ...]]:
    """What can be added to a GPU, as counts that no other one covers."""
    return _fillings(model, there)


@cache
def _fillings(model: str, there: oracles.Items) -> frozenset[tuple[tuple[str, int], ...]]:
    found: set[tuple[tuple[str, int], ...]] = {()}
    for item in oracles.additions(oracles.published_chip(model), there):
        for more in _fillings(model, there | {item}):
            counts = Counter(dict(more))
            counts[item[0]] += 1
            found.add(tuple(sorted(counts.items())))
    return frozenset(found)


def cheapest_plan(prices: Mapping[str, int], demand: Mapping[str, int], pinned: oracles.Items) -> int:
    """The least cost of GPUs beside one pinned A30 that hold a demand, by trying every filling of each GPU."""
    names = tuple(sorted(demand))

    @cache
    def cost(left: tuple[int, ...]) -> int:
        if not any(left):
            return 0
        return min(prices[model] + cost(rest) for model in prices for rest in rests(model, left, frozenset()))

    def rests(model: str, left: tuple[int, ...], there: oracles.Items) -> Iterator[tuple[int, ...]]:
        for filling in fillings(model, there):
            held = dict(filling)
            after = tuple(max(0, n - held.get(name, 0)) for name, n in zip(names, left, strict=True))
            if after != left or there:
                yield after

    start = tuple(demand[name] for name in names)
    return min(cost(rest) for rest in rests("a30-24gb", start, pinned))


@pytest.mark.parametrize("seed", SEEDS)
def test_plans_cost_what_trying_everything_finds(seed: int) -> None:
    """The cheapest or the fewest GPUs of two models beside a pinned one, proven."""
    dice = random.Random(2000 + seed)
    goal = dice.choice(("gpus", "cost"))
    prices = {"a30-24gb": dice.randrange(1, 9), "a100-40gb": dice.randrange(1, 9)}
    pinned = oracles.additions(oracles.published_chip("a30-24gb"), frozenset())
    name, start = dice.choice(sorted(pinned))
    asked = dice.choices(["1g.6gb", "2g.12gb", "4g.24gb", "1g.5gb", "3g.20gb", "1g.10gb"], k=dice.randrange(1, 7))
    document = {
        "fleet": [{"model": model, "price": price} for model, price in prices.items()],
        "goal": goal,
        "demand": dict(Counter(asked)),
        "pinned": [{"model": "a30-24gb", "slices": [{"profile": name, "start": start}]}],
    }
    answer = plain_answers.plan(document)
    weights = prices if goal == "cost" else dict.fromkeys(prices, 1)
    least = cheapest_plan(weights, Counter(asked), frozenset({(name, start)}))
    assert answer["optimal"] is True
    assert answer["lower_bound"] == least + weights["a30-24gb"]
    assert (answer["cost"] if goal == "cost" else sum(answer["gpus"].values())) == answer["lower_bound"]
