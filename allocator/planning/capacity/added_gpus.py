"""AddedGpus: the fewest more GPUs of one model that make pods fit, with a proven lower bound. Called by `changes`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from allocator.mig.geometry import Geometry
from allocator.planning.capacity import joint_fit
from allocator.planning.capacity.search_time import SearchTime
from allocator.planning.capacity.types import ChangeVerdict, GpusChange
from allocator.planning.packing import covering
from allocator.planning.packing.covering import CoverDemand, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Bin, RelocationProblem

_TRIES = 12  # parts of the time that one number of GPUs may take


@dataclass(frozen=True, slots=True)
class Fewest:
    """The change, or the verdict why there is none, in words."""

    change: GpusChange | None
    verdict: ChangeVerdict = ChangeVerdict.NONE
    reason: str = ""


@dataclass(slots=True)
class _Search:
    """The question with more and more GPUs. What fits is not lost by adding one, so numbers can be halved."""

    problem: RelocationProblem
    kind: Geometry
    per_node: int
    time: SearchTime
    exact_columns: int
    each_s: float
    at_least: int = 0
    tried: dict[int, bool] = field(default_factory=dict)

    def fits(self, gpus: int) -> bool:
        """Whether the pods were found to fit beside so many more; what is proven raises `at_least`."""
        if gpus not in self.tried:
            time = SearchTime(min(self.each_s, self.time.share(1)))
            before = time.left_s
            found = joint_fit.fit_again(wider(self.problem, self.kind, gpus, self.per_node), time, self.exact_columns)
            self.time.spend(before - time.left_s)
            self.tried[gpus] = found.placed is not None
            if found.placed is None and found.proven:
                self.at_least = max(self.at_least, gpus + 1)
        return self.tried[gpus]


def fewest(problem: RelocationProblem, kind: Geometry, per_node: int, time: SearchTime, exact_columns: int) -> Fewest:
    """The fewest more GPUs of a geometry, on nodes of so many, that make the requests fit."""
    model = kind.catalogue.model
    demand = CoverDemand(joint_fit.requested(problem))
    cover = covering.cover([*joint_fit.supplies(problem), Supply(kind)], demand, time.share(0.2))
    if cover.status is SolveStatus.INFEASIBLE:
        return Fewest(None, ChangeVerdict.NONE, f"no number of {model} offers every profile that is asked for")
    search = _Search(problem, kind, per_node, time, exact_columns, time.share(1 / _TRIES), cover.bound)
    enough, verdict = _enough(search)
    if enough is None:
        never = f"no number of nodes with {output(per_node)} of {model} holds one of these pods"
        open_ = f"no number of {model} was found in the time allowed that would do"
        return Fewest(None, verdict, never if verdict is ChangeVerdict.NONE else open_)
    low, high = max(cover.bound, 1), enough
    step = 1
    while low < high and not search.fits(low):  # near the bound first: it is met nearly always
        low, step = min(high, low + step), 2 * step
    high, low = low, max((n for n, fits in search.tried.items() if not fits and n < low), default=low - 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if search.fits(middle) else (middle, high)
    at_least = min(search.at_least, high)
    return Fewest(GpusChange(model, high, at_least, -(-high // per_node), at_least == high))


def output(gpus: int) -> str:
    """`1 GPU`, `8 GPUs`."""
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def wider(problem: RelocationProblem, kind: Geometry, gpus: int, per_node: int) -> RelocationProblem:
    """The question with so many more empty GPUs, on nodes of their own that take all of the pods."""
    first = 1 + max((gpu.node for gpu in problem.bins), default=-1)
    new = tuple(Bin(kind, (), first + number // per_node) for number in range(gpus))
    added = frozenset(gpu.node for gpu in new)
    open_ = {nodes: None if nodes is None else nodes | added for nodes in {pod.nodes for pod in problem.requests}}
    requests = tuple(replace(pod, nodes=open_[pod.nodes]) for pod in problem.requests)
    return replace(problem, bins=problem.bins + new, requests=requests)


def _enough(search: _Search) -> tuple[int | None, ChangeVerdict]:
    """A number that surely is enough: a node for each pod, if an empty one holds it. The others must fit as it is."""
    problem, kind, per_node = search.problem, search.kind, search.per_node
    empty = tuple(Bin(kind, (), 0) for _ in range(per_node))
    holds: dict[Sequence[str], bool] = {}
    rest = []
    for request in problem.requests:
        profiles = tuple(sorted(request.profiles))
        if profiles not in holds:
            anywhere = replace(request, nodes=None)
            alone = replace(problem, bins=empty, requests=(anywhere,), emptied=frozenset(), spare={})
            holds[profiles] = joint_fit.fit(alone, SearchTime(search.each_s), search.exact_columns).placed is not None
        if not holds[profiles]:
            rest.append(request)
    if rest:
        found = joint_fit.fit(replace(problem, requests=tuple(rest)), search.time, search.exact_columns)
        if found.placed is None:
            return None, ChangeVerdict.NONE if found.proven else ChangeVerdict.UNDECIDED
    return (len(problem.requests) - len(rest)) * per_node, ChangeVerdict.NONE
