"""Hosting: whether pods fit on nodes as they stand, exactly, by counts.

GPUs of a node that are in the same state are alike, and so are pods that ask for the same: a column says how many pods
of one kind a node hosts, or how many of its GPUs take one maximal pattern. A node holds its pods exactly if its
patterns have enough of every profile. So the program grows with nodes and kinds of pods, not with pods and places.
`cheapest` states it for the whole fleet, `dealt` node by node. Called by the capacity
answers. Theory: docs/planning.md.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from allocator.mig.geometry import Geometry
from allocator.planning.packing import patterns
from allocator.planning.packing.patterns import Counts, Names
from allocator.planning.packing.program import Program, Solution, SolveStatus, solve
from allocator.planning.packing.relocation import MovableJob, Place, Places, RelocationProblem

Swaps = Mapping[str, Sequence[tuple[str, int]]]  # profile asked for → profiles that may be given instead, and the cost
Kind = tuple[str, ...]  # the profiles of a pod, in name order
GpuStates = tuple[tuple[Geometry, int], ...]

_NONE: Swaps = {}


@dataclass(frozen=True, slots=True)
class NodeGpus:
    """A node: its GPUs (indices) by geometry and state."""

    gpus: Mapping[tuple[Geometry, int], tuple[int, ...]]

    @property
    def kind(self) -> frozenset[tuple[tuple[Geometry, int], int]]:
        """What makes nodes alike."""
        return frozenset((state, len(gpus)) for state, gpus in self.gpus.items())


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where every pod goes, and how many slices (asked for, given) are swapped. Without places: see `status`."""

    status: SolveStatus
    placed: tuple[Places, ...] = ()
    swapped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0


def nodes_of(problem: RelocationProblem, states: Sequence[int], *, as_one: bool = False) -> list[NodeGpus]:
    """The nodes of a fleet whose GPUs are in these states; `as_one` ignores where one ends and the next begins."""
    nodes: dict[int, dict[tuple[Geometry, int], list[int]]] = {}
    for where, (gpu, state) in enumerate(zip(problem.bins, states, strict=True)):
        on_node = nodes.setdefault(0 if as_one else gpu.node, {})
        on_node.setdefault((gpu.geometry, state), []).append(where)
    return [NodeGpus({state: tuple(gpus) for state, gpus in of_node.items()}) for of_node in nodes.values()]


def columns(nodes: Sequence[NodeGpus], requests: Sequence[MovableJob]) -> int:
    """About how many columns the program of `cheapest` has."""
    kinds = Counter(_kind(request) for request in requests)
    names = _names(kinds, _NONE)
    ways = {state: len(patterns.maximal(*state, names)) for node in nodes for state in node.gpus}
    return sum(len(kinds) + sum(ways[state] for state in node.gpus) for node in nodes)


def cheapest(
    nodes: Sequence[NodeGpus], requests: Sequence[MovableJob], time_limit_s: float, swaps: Swaps = _NONE
) -> Hosting:
    """A place for every pod, at the least cost of swaps; INFEASIBLE where there is none."""
    kinds = Counter(_kind(request) for request in requests)
    model = _Model(nodes, kinds, swaps)
    for kind, number in kinds.items():
        model.program.row(((hosted[kind], 1) for hosted in model.hosted if kind in hosted), low=number, high=number)
    model.order_alike(nodes)
    solution = solve(model.program, time_limit_s)
    if not solution.values:
        return Hosting(solution.status, seconds=solution.seconds)
    waiting = {kind: [n for n, request in enumerate(requests) if _kind(request) == kind] for kind in kinds}
    placed: dict[int, Places] = {}
    swapped: Counter[tuple[str, str]] = Counter()
    for number in range(len(nodes)):
        placed |= model.deal(number, solution, waiting, swapped)
    return Hosting(solution.status, tuple(placed[n] for n in range(len(requests))), dict(swapped), solution.seconds)


def most(node: NodeGpus, requests: Collection[tuple[Kind, int]], time_limit_s: float) -> tuple[Hosting, Counter[Kind]]:
    """The most memory slices' worth of these pods (kind and number) that one node holds, and how many of each kind."""
    model = _Model([node], dict(requests), _NONE)
    sizes = {p.name: p.memory_slices for geometry, _ in node.gpus for p in geometry.catalogue.profiles}
    for kind, column in model.hosted[0].items():
        left_out = model.program.column(dict(requests)[kind], sum(sizes.get(name, 0) for name in kind))
        model.program.row([(column, 1), (left_out, 1)], low=dict(requests)[kind])
    solution = solve(model.program, time_limit_s)
    hosted: Counter[Kind] = Counter()
    if not solution.values:
        return Hosting(solution.status, seconds=solution.seconds), hosted
    for kind, column in model.hosted[0].items():
        hosted[kind] = solution.values[column]
    numbers = iter(range(sum(hosted.values())))
    waiting = {kind: [next(numbers) for _ in range(number)] for kind, number in hosted.items()}
    placed = model.deal(0, solution, waiting, Counter())
    return Hosting(solution.status, tuple(placed[n] for n in sorted(placed)), {}, solution.seconds), hosted


def dealt(
    nodes: Sequence[NodeGpus], requests: Sequence[MovableJob], time_limit_s: float
) -> tuple[dict[int, Places], float]:
    """Pods dealt out node by node, each node its share of what is left, as much of it as it holds.

    The pods (by index) that found a place this way, and the seconds that it took: where all have one the pods fit,
    otherwise nothing is proven.
    """
    waiting: dict[Kind, list[int]] = {}
    for number, request in enumerate(requests):
        waiting.setdefault(_kind(request), []).append(number)
    known: dict[tuple[object, tuple[tuple[Kind, int], ...]], Counter[Kind]] = {}
    placed: dict[int, Places] = {}
    seconds = 0.0
    for number, node in enumerate(nodes):
        shares = tuple((kind, -(-len(pods) // (len(nodes) - number))) for kind, pods in waiting.items() if pods)
        if not shares or seconds >= time_limit_s:
            break
        key = node.kind, shares
        if key not in known:
            hosting, known[key] = most(node, shares, time_limit_s - seconds)
            seconds += hosting.seconds
        hosts = [(kind, count) for kind, count in known[key].items() if count]
        again, hosted = most(node, hosts, time_limit_s) if hosts else (Hosting(SolveStatus.OPTIMAL), Counter[Kind]())
        seconds += again.seconds
        pods = [waiting[kind].pop() for kind, count in hosted.items() for _ in range(count)]
        placed |= dict(zip(pods, again.placed, strict=True))
    return placed, seconds


def _kind(request: MovableJob) -> Kind:
    return tuple(sorted(request.profiles))


def _names(kinds: Collection[Kind], swaps: Swaps) -> Names:
    asked = {name for kind in kinds for name in kind}
    return tuple(sorted(asked | {other for name in asked for other, _ in swaps.get(name, ())}))


class _Model:
    """The program's columns per node: pods hosted by kind, slices swapped, GPUs by state and pattern."""

    def __init__(self, nodes: Sequence[NodeGpus], kinds: Mapping[Kind, int], swaps: Swaps) -> None:
        self.program = Program()
        self.names = _names(kinds, swaps)
        self.hosted: list[dict[Kind, int]] = []
        self._nodes = nodes
        self._swapped: list[dict[tuple[str, str], int]] = []
        self._used: list[list[tuple[tuple[Geometry, int], Counts, int]]] = []
        for node in nodes:
            self._node(node, kinds, swaps)

    def _node(self, node: NodeGpus, kinds: Mapping[Kind, int], swaps: Swaps) -> None:
        used = []
        for state, gpus in node.gpus.items():
            ways = [way for way in patterns.maximal(*state, self.names) if any(way)]
            columns_ = [self.program.column(len(gpus)) for _ in ways]
            self.program.row(((c, 1) for c in columns_), high=len(gpus))
            used += [(state, way, c) for way, c in zip(ways, columns_, strict=True)]
        offered = {name for _, way, _ in used for name, n in zip(self.names, way, strict=True) if n}
        hosted = {
            kind: self.program.column(number)
            for kind, number in kinds.items()
            if all(name in offered or any(other in offered for other, _ in swaps.get(name, ())) for name in kind)
        }
        swapped: dict[tuple[str, str], int] = {}
        for name in dict.fromkeys(name for kind in hosted for name in kind):
            asked = sum(kinds[kind] * kind.count(name) for kind in hosted)
            for other, cost in swaps.get(name, ()):
                if other in offered:
                    swapped[name, other] = self.program.column(asked, cost)
            terms = [(c, -1) for (from_, _), c in swapped.items() if from_ == name]
            if terms:  # no more are swapped than are asked for
                self.program.row([*((c, kind.count(name)) for kind, c in hosted.items()), *terms], low=0)
        for position, name in enumerate(self.names):
            made = [(c, way[position]) for _, way, c in used if way[position]]
            wanted = [(c, -kind.count(name)) for kind, c in hosted.items() if name in kind]
            moved = [(c, 1 if from_ == name else -1) for (from_, to), c in swapped.items() if name in (from_, to)]
            if wanted or moved:
                self.program.row([*made, *wanted, *moved], low=0)
        self._used.append(used)
        self.hosted.append(hosted)
        self._swapped.append(swapped)

    def order_alike(self, nodes: Sequence[NodeGpus]) -> None:
        """Of nodes that are alike, an earlier one hosts no fewer slices: other solutions only swap their names."""
        last: dict[object, int] = {}
        for number, node in enumerate(nodes):
            before = last.get(node.kind)
            last[node.kind] = number
            if before is not None:
                more = [(c, len(kind)) for kind, c in self.hosted[before].items()]
                less = [(c, -len(kind)) for kind, c in self.hosted[number].items()]
                self.program.row([*more, *less], low=0)

    def deal(
        self, number: int, solution: Solution, waiting: Mapping[Kind, list[int]], swapped: Counter[tuple[str, str]]
    ) -> dict[int, Places]:
        """The places of the pods that a node hosts; takes them from those waiting, and counts what was swapped."""
        numbers = {kind: solution.values[c] for kind, c in self.hosted[number].items()}
        pods = [(kind, waiting[kind].pop()) for kind, n in numbers.items() for _ in range(n)]
        left = {swap: solution.values[c] for swap, c in self._swapped[number].items()}
        given = []
        for kind, pod in pods:
            profiles = []
            for name in kind:
                to = next((to for (from_, to), n in left.items() if from_ == name and n), name)
                if to != name:
                    left[name, to] -= 1
                    swapped[name, to] += 1
                profiles.append(to)
            given.append((pod, profiles))
        places = self._places(number, solution, Counter(name for _, profiles in given for name in profiles))
        return {pod: tuple(places[name].pop() for name in profiles) for pod, profiles in given}

    def _places(self, number: int, solution: Solution, wanted: Counter[str]) -> dict[str, list[Place]]:
        """Places on a node for so many slices of each profile, by its patterns."""
        free = {state: list(gpus) for state, gpus in self._nodes[number].gpus.items()}
        places: dict[str, list[Place]] = {}
        for state, way, column in self._used[number]:
            for _ in range(solution.values[column]):
                taken = {name: min(n, wanted[name]) for name, n in zip(self.names, way, strict=True)}
                wanted.subtract(taken)
                gpu = free[state].pop(0)
                for placement in patterns.arrange(*state, taken):
                    places.setdefault(placement.profile, []).append((gpu, placement))
        return places
