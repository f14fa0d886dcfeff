"""Neighbourhood: the few GPUs of a large fleet on which a repack is searched exactly.

Small fleets are searched as they are. Beyond, `packing.exchange` says which GPUs are worth clearing and what
any repack costs at least; these, the next best, and the fullest GPUs that can take what is cleared become the scope.
If the cost found there meets that bound it is the optimum of the whole fleet; otherwise the gap is stated. Called by
`repack.planner`.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from allocator.planning.packing import covering, exchange, move_order, rearrangement, relocation
from allocator.planning.packing.covering import CoverDemand, Supply
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import (
    Budget,
    JobMove,
    MovableJob,
    Places,
    RelocationProblem,
    RelocationSolution,
)
from allocator.planning.repack import joint, search

WHOLE = 64  # GPUs that are searched without choosing among them
WHOLE_WIDE = 12  # the same where pods with several slices make the search harder
_SEARCHED_WHOLE = 20_000  # columns, up to which a fleet of any size is searched whole if its scopes hold no answer
_SCOPES = ((6, 4), (16, 24), (30, 34))  # GPUs to clear, GPUs to take what is cleared; each wider than the one before


def cheapest(
    problem: RelocationProblem, max_moves: int, time_limit_s: float, whole: int = WHOLE, whole_wide: int = WHOLE_WIDE
) -> RelocationSolution:
    """As `search.cheapest`, at any fleet size; UNKNOWN where nothing was found and nothing is proven.

    Up to `whole` GPUs are searched without choosing among them, up to `whole_wide` if pods have several slices.
    """
    if not problem.empty and not problem.emptied:
        placed = joint.at_once(problem)
        if placed is not None:
            return RelocationSolution(SolveStatus.OPTIMAL, placed=placed)
    slices_alone = rearrangement.applies(problem)
    if slices_alone and len(problem.bins) <= whole:
        return search.cheapest(problem, max_moves, time_limit_s)
    if _hopeless(problem, time_limit_s / 8):
        return RelocationSolution(SolveStatus.INFEASIBLE)
    if not slices_alone and len(problem.bins) <= whole_wide:
        return search.cheapest(problem, max_moves, time_limit_s)
    least = exchange.bound(problem, time_limit_s / 2)
    if least.status is SolveStatus.INFEASIBLE:
        return RelocationSolution(SolveStatus.INFEASIBLE)
    best = _straight(problem, least)
    left = 0.75 * time_limit_s - least.seconds
    if best.status is not SolveStatus.OPTIMAL:
        best, left = _scoped(problem, least, best, max_moves, left)
    if best.status is SolveStatus.UNKNOWN and left > 0 and _ways(problem, slices_alone) <= _SEARCHED_WHOLE:
        exact = search.cheapest(problem, max_moves, left)
        left -= exact.seconds
        best = _judged(exact, least) if exact.status in search.SOLVED else exact
    return replace(best, seconds=0.75 * time_limit_s - left)


def _scoped(
    problem: RelocationProblem, least: exchange.Bound, known: RelocationSolution, max_moves: int, time_limit_s: float
) -> tuple[RelocationSolution, float]:
    """The best of what is known and what scopes of growing size hold, and the time that is left."""
    best, left = known, time_limit_s
    for clear, take in _SCOPES:
        if left <= 0 or best.status is SolveStatus.OPTIMAL:
            break
        scope = _Scope(problem, _chosen(problem, least, clear, take))
        solution = search.cheapest(scope.problem, max_moves, left)
        left -= solution.seconds
        if solution.status in search.SOLVED and (best.status is SolveStatus.UNKNOWN or solution.cost < best.cost):
            best = _judged(scope.outside(solution), least)
    return best, left


def _ways(problem: RelocationProblem, slices_alone: bool) -> int:
    """About how many columns an exact search of the whole fleet has."""
    if not slices_alone:
        return relocation.size(problem)
    on_gpu = Counter(job.home[0][0] for job in problem.jobs)
    return sum(2 ** on_gpu[where] for where in range(len(problem.bins)))


def _hopeless(problem: RelocationProblem, time_limit_s: float) -> bool:
    """Whether not even placing everything movable again, slice by slice, would hold it all: counts alone prove it."""
    if any(problem.bins[where].fixed for where in problem.emptied):
        return True
    kinds = Counter(
        (gpu.geometry, gpu.geometry.state_of(gpu.fixed))
        for where, gpu in enumerate(problem.bins)
        if where not in problem.emptied
    )
    supplies = [Supply(kind, state, n, int(state == kind.EMPTY)) for (kind, state), n in kinds.items()]
    wanted = Counter(name for job in (*problem.jobs, *problem.requests) for name in job.profiles)
    held = covering.cover(supplies, CoverDemand(wanted), time_limit_s)
    could_be_empty = sum(n for (kind, state), n in kinds.items() if state == kind.EMPTY)
    must_be_empty = problem.empty - len(problem.emptied)
    return held.status is SolveStatus.INFEASIBLE or held.bound > could_be_empty - max(0, must_be_empty)


def _judged(solution: RelocationSolution, least: exchange.Bound) -> RelocationSolution:
    """An answer with what the whole fleet's bound says of it."""
    bound = min(least.cost, solution.cost)
    return replace(
        solution, bound=bound, status=SolveStatus.OPTIMAL if bound == solution.cost else SolveStatus.FEASIBLE
    )


def _straight(problem: RelocationProblem, least: exchange.Bound) -> RelocationSolution:
    """The relaxation taken at its word: clear what it clears, put the requests there, the pods wherever they fit.

    In a fleet with some room that is an answer, and then it costs no more than its bound. UNKNOWN if it is none.
    """
    leaving = [
        number
        for number, job in enumerate(problem.jobs)
        if any(placement in least.used.get(where, ()) for where, placement in job.home)
    ]
    undecided = RelocationSolution(SolveStatus.UNKNOWN, bound=least.cost)
    if any(sum(b.weights.get(n, 0) for n in leaving) > b.limit for b in problem.budgets):
        return undecided
    staying = joint.without(problem, leaving, closed=_kept_empty(problem, least))
    placed = joint.at_once(staying)
    if placed is None:
        return undecided
    displaced = joint.with_placed(staying, dict(enumerate(placed)), [problem.jobs[n] for n in leaving])
    placed_again = joint.at_once(displaced)
    if placed_again is None or not _emptied_enough(
        problem, joint.with_placed(displaced, dict(enumerate(placed_again)), ())
    ):
        return undecided
    moves = [
        JobMove(n, places)
        for n, places in zip(leaving, placed_again, strict=True)
        if sorted(places, key=str) != sorted(problem.jobs[n].home, key=str)
    ]
    ordered = move_order.order(problem, moves)
    if ordered is None:
        return undecided
    cost = sum(problem.jobs[move.job].cost for move in ordered)
    return _judged(RelocationSolution(SolveStatus.FEASIBLE, ordered, placed, cost), least)


def _kept_empty(problem: RelocationProblem, least: exchange.Bound) -> frozenset[int]:
    """GPUs on which nothing may be put: those to be emptied, and, where GPUs are to be emptied, all empty ones."""
    if not problem.empty:
        return problem.emptied
    states = joint.standing(problem)
    empty_now = {where for where, state in enumerate(states) if state == problem.bins[where].geometry.EMPTY}
    return frozenset(problem.emptied | empty_now | least.to_empty)


def _emptied_enough(problem: RelocationProblem, after: RelocationProblem) -> bool:
    """Whether the GPUs that had to be emptied are, when things stand as in `after`."""
    empty = {where for where, gpu in enumerate(after.bins) if not gpu.fixed}
    return problem.emptied <= empty and len(empty) >= problem.empty


def _chosen(problem: RelocationProblem, least: exchange.Bound, clear: int, take: int) -> list[int]:
    """The GPUs of a scope: whole nodes where pods hold several slices, else single GPUs."""
    cleared = [*least.used, *problem.emptied, *least.next_best][: max(clear, len(least.used) + len(problem.emptied))]
    if any(len(job.profiles) > 1 for job in problem.requests):
        cleared += _whole_nodes(problem, cleared, clear)
    inside = set(cleared)
    leaving = {name for job in problem.jobs if any(w in inside for w, _ in job.home) for name in job.profiles}
    takers = dict.fromkeys(_takers(problem, leaving, inside, take))
    takers |= dict.fromkeys(_roomiest(problem))  # they may have to make room themselves
    return sorted(inside | set([w for w in takers if w not in inside][: max(take, clear + take - len(inside))]))


def _whole_nodes(problem: RelocationProblem, cleared: Sequence[int], most: int) -> list[int]:
    """All GPUs of the nodes of the first cleared GPUs and of the nodes with most free memory."""
    free: dict[int, int] = {}
    for gpu, state in zip(problem.bins, joint.standing(problem), strict=True):
        free[gpu.node] = free.get(gpu.node, 0) + gpu.geometry.free_slices(state)
    nodes = {problem.bins[where].node for where in cleared[: most // 6]}
    nodes |= set(sorted(free, key=lambda node: -free[node])[: most // 6])
    return [where for where, gpu in enumerate(problem.bins) if gpu.node in nodes]


def _takers(problem: RelocationProblem, names: Collection[str], inside: Collection[int], most: int) -> list[int]:
    """The fullest GPUs with room for what leaves, a few for each profile."""
    states = joint.standing(problem)
    order = sorted(
        (where for where in range(len(problem.bins)) if where not in inside),
        key=lambda where: (problem.bins[where].geometry.free_slices(states[where]), where),
    )
    takers: list[int] = []
    for name in sorted(names):
        with_room = (w for w in order if problem.bins[w].geometry.room_for(states[w], name))
        takers += [where for where, _ in zip(with_room, range(max(1, most // len(names))), strict=False)]
    return takers


def _roomiest(problem: RelocationProblem) -> list[int]:
    """All GPUs, those with most free memory first."""
    states = joint.standing(problem)
    free = [gpu.geometry.free_slices(state) for gpu, state in zip(problem.bins, states, strict=True)]
    return sorted(range(len(free)), key=lambda where: (-free[where], where))


@dataclass(frozen=True, slots=True)
class _Scope:
    """A problem about some of the GPUs. Pods that are not wholly inside stay where they are."""

    whole: RelocationProblem
    chosen: list[int]

    @property
    def jobs(self) -> list[int]:
        """The jobs (by index) that lie inside."""
        inside = set(self.chosen)
        return [n for n, job in enumerate(self.whole.jobs) if all(where in inside for where, _ in job.home)]

    @property
    def problem(self) -> RelocationProblem:
        """The problem, GPUs and jobs renumbered."""
        new = {where: number for number, where in enumerate(self.chosen)}
        jobs = self.jobs
        numbers = {job: number for number, job in enumerate(jobs)}
        fixed = {where: list(self.whole.bins[where].fixed) for where in self.chosen}
        for number, job in enumerate(self.whole.jobs):
            for where, placement in job.home if number not in numbers else ():
                if where in fixed:
                    fixed[where].append(placement)
        used = {where for job in self.whole.jobs for where, _ in job.home}
        empty_outside = sum(
            where not in new and where not in used and not gpu.fixed for where, gpu in enumerate(self.whole.bins)
        )
        return RelocationProblem(
            bins=tuple(replace(self.whole.bins[where], fixed=tuple(fixed[where])) for where in self.chosen),
            jobs=tuple(_renumbered(self.whole.jobs[n], new) for n in jobs),
            requests=self.whole.requests,
            empty=max(0, self.whole.empty - empty_outside),
            emptied=frozenset(new[where] for where in self.whole.emptied),
            spare=self.whole.spare,
            budgets=tuple(
                Budget(b.limit, {numbers[j]: w for j, w in b.weights.items() if j in numbers})
                for b in self.whole.budgets
            ),
        )

    def outside(self, solution: RelocationSolution) -> RelocationSolution:
        """An answer in the numbers of the whole problem."""
        jobs = self.jobs
        moves = tuple(JobMove(jobs[move.job], self._places(move.places)) for move in solution.moves)
        return replace(solution, moves=moves, placed=tuple(self._places(places) for places in solution.placed))

    def _places(self, places: Places) -> Places:
        return tuple((self.chosen[where], placement) for where, placement in places)


def _renumbered(job: MovableJob, new: dict[int, int]) -> MovableJob:
    return replace(job, home=tuple((new[where], placement) for where, placement in job.home))
