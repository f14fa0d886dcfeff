"""Defragment: restarts that leave a smaller part of the free memory slices stranded, found greedily.

Each step is the restart that gains most for its cost. So what is found is legal in its order, and not proven the
cheapest; what is not found is not proven impossible. Called by `repack.planner`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from allocator import errors
from allocator.eligibility.amounts import NOTHING, Amounts
from allocator.mig.profile import Placement
from allocator.placement import room
from allocator.planning.packing import node_limits
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import JobMove, Place, RelocationProblem, RelocationSolution

MAX_TRIED = 200_000  # restarts that are weighed, over all steps: a few seconds


@dataclass(frozen=True, slots=True)
class _Step:
    """A restart that may come next: whose, where to, and how many slices are stranded no more."""

    job: int
    target: Place
    gain: int
    cost: int

    @property
    def worth(self) -> tuple[float, int]:
        """The more the better."""
        return self.gain / self.cost if self.cost else float("inf"), self.gain


def fewer_stranded(
    problem: RelocationProblem, demanded: frozenset[str], share: float, max_moves: int
) -> RelocationSolution:
    """Restarts of pods with one slice until at most this share is stranded, as slices that no demanded profile can use.

    FEASIBLE where that is reached, OPTIMAL where it is so already; otherwise UNKNOWN, with the moves that lessen it.
    """
    fleet = _Fleet(problem, demanded)
    moves: list[JobMove] = []
    cost = 0
    while fleet.share > share and len(moves) < max_moves:
        step = max(fleet.steps(), key=lambda step: step.worth, default=None)
        if step is None:
            break
        fleet.make(step)
        moves.append(JobMove(step.job, (step.target,)))
        cost += step.cost
    reached = SolveStatus.FEASIBLE if moves else SolveStatus.OPTIMAL
    status = reached if fleet.share <= share else SolveStatus.UNKNOWN
    return RelocationSolution(status, moves=tuple(moves), cost=cost)


class _Fleet:
    """The GPUs while restarts are made."""

    def __init__(self, problem: RelocationProblem, demanded: frozenset[str]) -> None:
        self._problem = problem
        self._demanded = demanded
        self._at = [job.home for job in problem.jobs]
        self._slices: list[list[Placement]] = [list(gpu.fixed) for gpu in problem.bins]
        for where, placement in (place for home in self._at for place in home):
            self._slices[where].append(placement)
        self._states = [gpu.geometry.state_of(there) for gpu, there in zip(problem.bins, self._slices, strict=True)]
        self._used = [0] * len(problem.budgets)
        self._hosted: list[tuple[int, Amounts]] = []  # what the restarts so far have brought to nodes and taken away
        self._tried = 0

    @property
    def share(self) -> float:
        """The part of the free memory slices that is stranded."""
        free = sum(gpu.geometry.free_slices(state) for gpu, state in zip(self._problem.bins, self._states, strict=True))
        return sum(map(self._stranded, range(len(self._states)))) / free if free else 0.0

    def steps(self) -> Iterator[_Step]:
        """The restarts that gain something and are allowed; of those that come to the same, one."""
        classes = self._classes()
        seen: set[object] = set()
        for number, job in enumerate(self._problem.jobs):
            if len(job.profiles) != 1 or not self._may_move(number):
                continue
            ((source, placement),) = self._at[number]
            node = self._problem.bins[source].node
            alike = (self._class_of(source), placement, job.cost, job.nodes, job.asked)
            if not self._stranded(source) or alike in seen:
                continue
            seen.add(alike)
            for members in ([source], *classes.values()):
                target = next((gpu for gpu in members if self._takes(gpu, number, node)), None)
                if target is not None and self._tried < MAX_TRIED:
                    yield from self._onto(number, target)

    def make(self, step: _Step) -> None:
        """A restart is made."""
        ((source, placement),) = self._at[step.job]
        where, target = step.target
        self._slices[source].remove(placement)
        self._slices[where].append(target)
        for gpu in {source, where}:
            self._states[gpu] = self._state(gpu, self._slices[gpu])
        asked, nodes = self._problem.jobs[step.job].asked, [self._problem.bins[gpu].node for gpu in (source, where)]
        self._hosted += [(nodes[0], NOTHING - asked), (nodes[1], asked)]
        self._at[step.job] = (step.target,)
        budgets = self._problem.budgets
        self._used = [used + b.weights.get(step.job, 0) for used, b in zip(self._used, budgets, strict=True)]

    def _onto(self, number: int, target: int) -> Iterator[_Step]:
        """The places for a job on a GPU that gain something."""
        job = self._problem.jobs[number]
        ((source, placement),) = self._at[number]
        left = list(self._slices[source])
        left.remove(placement)
        now = self._stranded(source) + (self._stranded(target) if target != source else 0)
        alone = self._stranded_in(source, left) if target != source else 0
        there = self._slices[target] if target != source else left
        for place in self._problem.bins[target].geometry.placements:
            if place.profile != job.profiles[0] or (target, place) == (source, placement):
                continue
            self._tried += 1
            try:
                gain = now - alone - self._stranded_in(target, [*there, place])
            except errors.GeometryError:
                continue
            if gain > 0:
                yield _Step(number, (target, place), gain, job.cost)

    def _classes(self) -> dict[object, list[int]]:
        """The GPUs by what they are and have on them."""
        classes: dict[object, list[int]] = {}
        for gpu in range(len(self._states)):
            if gpu not in self._problem.emptied:
                classes.setdefault(self._class_of(gpu), []).append(gpu)
        return classes

    def _class_of(self, gpu: int) -> tuple[int, int]:
        return id(self._problem.bins[gpu].geometry), self._states[gpu]

    def _takes(self, gpu: int, number: int, from_node: int) -> bool:
        """Whether a GPU's node takes a job, slices aside."""
        job, node = self._problem.jobs[number], self._problem.bins[gpu].node
        if node == from_node:
            return True
        if job.nodes is not None and node not in job.nodes:
            return False
        return node_limits.kept(self._problem.spare, (*self._hosted, (node, job.asked)))

    def _may_move(self, number: int) -> bool:
        """Whether the budgets allow one more restart of a job."""
        budgets = zip(self._used, self._problem.budgets, strict=True)
        return all(used + budget.weights.get(number, 0) <= budget.limit for used, budget in budgets)

    def _stranded(self, gpu: int) -> int:
        return self._stranded_of(gpu, self._states[gpu])

    def _stranded_in(self, gpu: int, slices: Sequence[Placement]) -> int:
        return self._stranded_of(gpu, self._state(gpu, slices))

    def _stranded_of(self, gpu: int, state: int) -> int:
        geometry = self._problem.bins[gpu].geometry
        return room.stranded_slices(geometry, state, self._demanded or frozenset(geometry.profiles))

    def _state(self, gpu: int, slices: Sequence[Placement]) -> int:
        return self._problem.bins[gpu].geometry.state_of(slices)
