"""Hosting: whether pods fit on nodes as they stand, exactly, by counts.

GPUs of a node that are in the same state are alike, and so are pods that ask for the same: a column says how many pods
of one kind a node hosts, or how many of its GPUs take one maximal pattern. A node holds its pods exactly if its
patterns have enough of every profile. So the program grows with nodes and kinds of pods, not with pods and places.
`cheapest` states it for the whole fleet, `dealt` node by node. Called by the capacity
answers. Theory: docs/planning.md.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from allocator.eligibility.amounts import NO_LIMIT, NOTHING, Amounts
from allocator.mig.geometry import Geometry
from allocator.planning.packing import node_limits, patterns
from allocator.planning.packing.patterns import Counts, Names
from allocator.planning.packing.program import Program, Solution, SolveStatus, solve
from allocator.planning.packing.relocation import MovableJob, Place, Places, RelocationProblem

Swaps = Mapping[str, Sequence[tuple[str, int]]]  # profile asked for → profiles that may be given instead, and the cost
GpuStates = tuple[tuple[Geometry, int], ...]

_NONE: Swaps = {}


@dataclass(frozen=True, slots=True)
class NodeGpus:
    """A node (None where several are taken for one): its GPUs (indices) by geometry and state, and what it has left of
    CPU and memory, as far as that could be exceeded.
    """

    gpus: Mapping[tuple[Geometry, int], tuple[int, ...]]
    number: int | None = None
    spare: Amounts = NO_LIMIT

    @property
    def kind(self) -> Hashable:
        """What makes nodes alike, for pods that may run on all of them."""
        return frozenset((state, len(gpus)) for state, gpus in self.gpus.items()), self.spare


@dataclass(frozen=True, slots=True)
class PodKind:
    """Pods that are alike: their profiles, in name order, the nodes to which they may go, and what they ask of one."""

    profiles: tuple[str, ...]
    nodes: frozenset[int] | None = None
    asked: Amounts = NOTHING

    @classmethod
    def of(cls, job: MovableJob) -> "PodKind":
        """The kind of a pod."""
        return cls(tuple(sorted(job.profiles)), job.nodes, job.asked)

    def may_run_on(self, node: NodeGpus) -> bool:
        """Whether a node takes such pods."""
        return self.nodes is None or node.number is None or node.number in self.nodes


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where every pod goes, and how many slices (asked for, given) are swapped. Without places: see `status`."""

    status: SolveStatus
    placed: tuple[Places, ...] = ()
    swapped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0


def nodes_of(problem: RelocationProblem, states: Sequence[int], *, as_one: bool = False) -> list[NodeGpus]:
    """The nodes of a fleet whose GPUs are in these states, as far as some request may go there.

    `as_one` ignores where one ends and the next begins, and what each has left of CPU and memory.
    """
    limits = {} if as_one else problem.limits()
    open_ = {request.nodes for request in problem.requests} or {None}
    among = None if None in open_ else frozenset().union(*(nodes for nodes in open_ if nodes is not None))
    nodes: dict[int, dict[tuple[Geometry, int], list[int]]] = {}
    for where, (gpu, state) in enumerate(zip(problem.bins, states, strict=True)):
        if among is None or gpu.node in among:
            on_node = nodes.setdefault(-1 if as_one else gpu.node, {})
            on_node.setdefault((gpu.geometry, state), []).append(where)
    return [
        NodeGpus(
            {state: tuple(gpus) for state, gpus in of_node.items()},
            None if as_one else number,
            limits.get(number, NO_LIMIT),
        )
        for number, of_node in nodes.items()
    ]


def is_relaxed_as_one(problem: RelocationProblem) -> bool:
    """Whether taking all nodes for one says less than is asked: pods may run on different nodes, or fill some up."""
    return len({request.nodes for request in problem.requests}) > 1 or bool(problem.limits())


def columns(nodes: Sequence[NodeGpus], requests: Sequence[MovableJob]) -> int:
    """About how many columns the program of `cheapest` has."""
    kinds = Counter(map(PodKind.of, requests))
    names = _names(kinds, _NONE)
    ways = {state: len(patterns.maximal(*state, names)) for node in nodes for state in node.gpus}
    return sum(len(kinds) + sum(ways[state] for state in node.gpus) for node in nodes)


def cheapest(
    nodes: Sequence[NodeGpus], requests: Sequence[MovableJob], time_limit_s: float, swaps: Swaps = _NONE
) -> Hosting:
    """A place for every pod, at the least cost of swaps; INFEASIBLE where there is none."""
    kinds = Counter(map(PodKind.of, requests))
    model = _Model(nodes, kinds, swaps)
    for kind, number in kinds.items():
        model.program.row(((hosted[kind], 1) for hosted in model.hosted if kind in hosted), low=number, high=number)
    model.order_alike(nodes)
    solution = solve(model.program, time_limit_s)
    if not solution.values:
        return Hosting(solution.status, seconds=solution.seconds)
    waiting: dict[PodKind, list[int]] = {kind: [] for kind in kinds}
    for number, request in enumerate(requests):
        waiting[PodKind.of(request)].append(number)
    placed: dict[int, Places] = {}
    swapped: Counter[tuple[str, str]] = Counter()
    for number in range(len(nodes)):
        placed |= model.deal(number, solution, waiting, swapped)
    if not _kept(nodes, requests, placed):
        return Hosting(SolveStatus.UNKNOWN, seconds=solution.seconds)
    return Hosting(solution.status, tuple(placed[n] for n in range(len(requests))), dict(swapped), solution.seconds)


def most(
    node: NodeGpus, requests: Collection[tuple[PodKind, int]], time_limit_s: float
) -> tuple[Hosting, Counter[PodKind]]:
    """The most memory slices' worth of these pods (kind and number) that one node holds, and how many of each kind."""
    model = _Model([node], dict(requests), _NONE)
    sizes = {p.name: p.memory_slices for geometry, _ in node.gpus for p in geometry.catalogue.profiles}
    for kind, column in model.hosted[0].items():
        left_out = model.program.column(dict(requests)[kind], sum(sizes.get(name, 0) for name in kind.profiles))
        model.program.row([(column, 1), (left_out, 1)], low=dict(requests)[kind])
    solution = solve(model.program, time_limit_s)
    hosted: Counter[PodKind] = Counter()
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
    waiting: dict[PodKind, list[int]] = {}
    for number, request in enumerate(requests):
        waiting.setdefault(PodKind.of(request), []).append(number)
    takers = {kind: sum(map(kind.may_run_on, nodes)) for kind in waiting}  # of the nodes from here on
    known: dict[tuple[Hashable, tuple[tuple[PodKind, int], ...]], Counter[PodKind]] = {}
    placed: dict[int, Places] = {}
    seconds = 0.0
    for node in nodes:
        if seconds >= time_limit_s or not any(waiting.values()):
            break
        here = [(kind, pods) for kind, pods in waiting.items() if kind.may_run_on(node)]
        shares = tuple((kind, -(-len(pods) // takers[kind])) for kind, pods in here if pods)
        for kind, _ in here:
            takers[kind] -= 1
        if not shares:
            continue
        key = node.kind, shares
        if key not in known:
            hosting, known[key] = most(node, shares, time_limit_s - seconds)
            seconds += hosting.seconds
        hosts = [(kind, count) for kind, count in known[key].items() if count]
        again, hosted = most(node, hosts, time_limit_s) if hosts else (Hosting(SolveStatus.OPTIMAL), Counter[PodKind]())
        seconds += again.seconds
        pods = [waiting[kind].pop() for kind, count in hosted.items() for _ in range(count)]
        arranged = dict(zip(pods, again.placed, strict=True))
        if _kept([node], requests, arranged):
            placed |= arranged
    return placed, seconds


def _kept(nodes: Sequence[NodeGpus], requests: Sequence[MovableJob], placed: Mapping[int, Places]) -> bool:
    """Whether the nodes have what the pods ask for that are placed there."""
    node_of = {where: node for node in nodes for gpus in node.gpus.values() for where in gpus}
    spare = {node.number: node.spare for node in nodes if node.number is not None}
    hosts = [(node_of[places[0][0]].number, requests[number].asked) for number, places in placed.items()]
    return node_limits.kept(spare, [(node, asked) for node, asked in hosts if node is not None])


def _names(kinds: Collection[PodKind], swaps: Swaps) -> Names:
    asked = {name for kind in kinds for name in kind.profiles}
    return tuple(sorted(asked | {other for name in asked for other, _ in swaps.get(name, ())}))


class _Model:
    """The program's columns per node: pods hosted by kind, slices swapped, GPUs by state and pattern."""

    def __init__(self, nodes: Sequence[NodeGpus], kinds: Mapping[PodKind, int], swaps: Swaps) -> None:
        self.program = Program()
        self.names = _names(kinds, swaps)
        self.hosted: list[dict[PodKind, int]] = []
        self._nodes = nodes
        self._swapped: list[dict[tuple[str, str], int]] = []
        self._used: list[list[tuple[tuple[Geometry, int], Counts, int]]] = []
        for node in nodes:
            self._node(node, kinds, swaps)

    def _node(self, node: NodeGpus, kinds: Mapping[PodKind, int], swaps: Swaps) -> None:
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
            if kind.may_run_on(node)
            and all(
                name in offered or any(other in offered for other, _ in swaps.get(name, ())) for name in kind.profiles
            )
        }
        node_limits.rows(self.program, node.spare, [(column, kind.asked) for kind, column in hosted.items()])
        swapped: dict[tuple[str, str], int] = {}
        for name in dict.fromkeys(name for kind in hosted for name in kind.profiles):
            asked = sum(kinds[kind] * kind.profiles.count(name) for kind in hosted)
            for other, cost in swaps.get(name, ()):
                if other in offered:
                    swapped[name, other] = self.program.column(asked, cost)
            terms = [(c, -1) for (from_, _), c in swapped.items() if from_ == name]
            if terms:  # no more are swapped than are asked for
                self.program.row([*((c, kind.profiles.count(name)) for kind, c in hosted.items()), *terms], low=0)
        for position, name in enumerate(self.names):
            made = [(c, way[position]) for _, way, c in used if way[position]]
            wanted = [(c, -kind.profiles.count(name)) for kind, c in hosted.items() if name in kind.profiles]
            moved = [(c, 1 if from_ == name else -1) for (from_, to), c in swapped.items() if name in (from_, to)]
            if wanted or moved:
                self.program.row([*made, *wanted, *moved], low=0)
        self._used.append(used)
        self.hosted.append(hosted)
        self._swapped.append(swapped)

    def order_alike(self, nodes: Sequence[NodeGpus]) -> None:
        """Of nodes that are alike, an earlier one hosts no fewer slices: other solutions only swap their names."""
        last: dict[Hashable, int] = {}
        for number, node in enumerate(nodes):
            alike = node.kind, frozenset(self.hosted[number])
            before = last.get(alike)
            last[alike] = number
            if before is not None:
                more = [(c, len(kind.profiles)) for kind, c in self.hosted[before].items()]
                less = [(c, -len(kind.profiles)) for kind, c in self.hosted[number].items()]
                self.program.row([*more, *less], low=0)

    def deal(
        self, number: int, solution: Solution, waiting: Mapping[PodKind, list[int]], swapped: Counter[tuple[str, str]]
    ) -> dict[int, Places]:
        """The places of the pods that a node hosts; takes them from those waiting, and counts what was swapped."""
        numbers = {kind: solution.values[c] for kind, c in self.hosted[number].items()}
        pods = [(kind, waiting[kind].pop()) for kind, n in numbers.items() for _ in range(n)]
        left = {swap: solution.values[c] for swap, c in self._swapped[number].items()}
        given = []
        for kind, pod in pods:
            profiles = []
            for name in kind.profiles:
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
