"""Search: the cheapest order of moves, proven, by as little solving as that takes. Called by `repack.answer`."""

from collections.abc import Sequence
from dataclasses import replace

from allocator.planning.packing import deadlock, move_order, rearrangement, relocation
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Budget, JobMove, RelocationProblem, RelocationSolution

MAX_COLUMNS = 60_000  # larger programs are not stated: building them would take longer than any time limit allows

SOLVED = (SolveStatus.OPTIMAL, SolveStatus.FEASIBLE)


def cheapest(problem: RelocationProblem, max_moves: int, time_limit_s: float) -> RelocationSolution:
    """The cheapest legal order of at most so many moves that answers the question; INFEASIBLE if none exists.

    The cheapest end is asked for first, the way left open: usually its moves can be put in an order, and nothing can be
    cheaper. Where they block each other, other ends of the same pods are tried, then of any pods; only then the
    whole way is searched, with more and more steps, until no longer plan could be cheaper.
    """
    end = cheapest_end(problem, time_limit_s * 0.6)
    if end.status not in SOLVED:
        return end
    solution = _in_order(problem, end)
    left = time_limit_s - end.seconds
    for jobs in (sorted(move.job for move in end.moves), range(len(problem.jobs))):
        narrow = _only(problem, jobs)
        if solution is None and left > 0 and relocation.size(narrow) <= MAX_COLUMNS:
            other = relocation.destination(narrow, left / 2, one_by_one=True)
            left -= other.seconds
            back = replace(other, moves=tuple(JobMove(jobs[m.job], m.places) for m in other.moves))
            if other.status in SOLVED and (len(jobs) == len(problem.jobs) or other.cost == end.bound):
                solution = _in_order(problem, replace(back, bound=max(end.bound, _twice(problem, end, back))))
    if solution is not None and solution.cost <= solution.bound:
        return replace(solution, bound=solution.cost, status=SolveStatus.OPTIMAL, seconds=time_limit_s - left)
    if solution is None and deadlock.proven(problem):
        return RelocationSolution(SolveStatus.INFEASIBLE, seconds=time_limit_s - left)
    found, spent = _by_steps(problem, end, solution, max_moves, left)
    return replace(found, seconds=time_limit_s - left + spent)


def cheapest_end(problem: RelocationProblem, time_limit_s: float) -> RelocationSolution:
    """The cheapest end, the way there left open; UNKNOWN where the program would be too large."""
    if rearrangement.applies(problem):
        return rearrangement.destination(problem, time_limit_s)
    if relocation.size(problem) > MAX_COLUMNS:
        return RelocationSolution(SolveStatus.UNKNOWN)
    return relocation.destination(problem, time_limit_s)


def _in_order(problem: RelocationProblem, end: RelocationSolution) -> RelocationSolution | None:
    """The same moves in a legal order, if there is one."""
    ordered = move_order.order(problem, end.moves)
    return None if ordered is None else replace(end, moves=ordered)


def _twice(problem: RelocationProblem, end: RelocationSolution, once: RelocationSolution) -> int:
    """A bound of all plans: of those that move nobody twice, and of those that do, which pay for one restart more."""
    return min(once.bound, end.bound + min(job.cost for job in problem.jobs))


def _only(problem: RelocationProblem, jobs: Sequence[int]) -> RelocationProblem:
    """The same question with all other jobs staying."""
    stay = [list(gpu.fixed) for gpu in problem.bins]
    for number in set(range(len(problem.jobs))) - set(jobs):
        for where, placement in problem.jobs[number].home:
            stay[where].append(placement)
    new = {job: number for number, job in enumerate(jobs)}
    return replace(
        problem,
        bins=tuple(replace(gpu, fixed=tuple(slices)) for gpu, slices in zip(problem.bins, stay, strict=True)),
        jobs=tuple(problem.jobs[job] for job in jobs),
        budgets=tuple(Budget(b.limit, {new[j]: w for j, w in b.weights.items() if j in new}) for b in problem.budgets),
    )


def _by_steps(
    problem: RelocationProblem,
    end: RelocationSolution,
    known: RelocationSolution | None,
    max_moves: int,
    time_limit_s: float,
) -> tuple[RelocationSolution, float]:
    """The whole way searched, beside what is known, and the seconds that took.

    Each step costs at least what the cheapest restart does.
    """
    single = min(job.cost for job in problem.jobs)
    steps, left, best = len(end.moves), time_limit_s, known
    while steps <= _most_steps(best, single, max_moves):
        small = relocation.size(problem) * steps <= MAX_COLUMNS
        solution = (
            relocation.sequence(problem, steps, end.bound, left)
            if small and left > 0
            else RelocationSolution(SolveStatus.UNKNOWN)
        )
        left -= solution.seconds
        if solution.status in SOLVED and (best is None or solution.cost < best.cost):
            best = replace(solution, bound=end.bound, status=SolveStatus.FEASIBLE)
        if solution.status is SolveStatus.INFEASIBLE:
            steps += 1
        elif solution.status is SolveStatus.OPTIMAL:  # of all plans this short; a longer one may still be cheaper
            steps = max(steps + 1, _most_steps(best, single, max_moves))
        else:
            return best or RelocationSolution(SolveStatus.UNKNOWN, bound=end.bound), time_limit_s - left
    if best is None:
        return RelocationSolution(SolveStatus.INFEASIBLE), time_limit_s - left
    return replace(best, bound=best.cost, status=SolveStatus.OPTIMAL), time_limit_s - left


def _most_steps(best: RelocationSolution | None, single: int, max_moves: int) -> int:
    """How many steps a plan may have that is better than the best known."""
    return max_moves if best is None else min(max_moves, (best.cost - 1) // single)
