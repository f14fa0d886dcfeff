"""Search: the cheapest order of moves, proven, by as little solving as that takes. Called by `repack.answer`."""

from dataclasses import replace

from allocator.packing import relocation
from allocator.packing.program import Status
from allocator.packing.relocation import Found, Question

SOLVED = (Status.OPTIMAL, Status.FEASIBLE)


def cheapest(asked: Question, max_moves: int, time_limit_s: float) -> Found:
    """The cheapest legal order of at most so many moves that answers the question; INFEASIBLE if none exists.

    The cheapest end is asked for first, the way left open: usually its moves can be put in an order, and nothing can be
    cheaper. Only where they block each other the way is searched too, with more and more steps, until no longer
    plan could be cheaper: each step costs at least what the cheapest restart does.
    """
    end = relocation.destination(asked, time_limit_s)
    if end.status not in SOLVED:
        return end
    ordered = relocation.order(asked, end.moves)
    if ordered is not None:
        return replace(end, moves=ordered)
    return _by_steps(asked, end, max_moves, time_limit_s - end.seconds)


def _by_steps(asked: Question, end: Found, max_moves: int, time_limit_s: float) -> Found:
    single = min(job.cost for job in asked.jobs)
    steps, left, least = len(end.moves), time_limit_s, end.bound
    best: Found | None = None
    while steps <= max_moves and left > 0:
        found = relocation.sequence(asked, steps, least, left)
        left -= found.seconds
        if found.status in SOLVED:
            longer = (steps + 1) * single if steps < max_moves else found.cost
            bound = max(least, min(found.bound, longer))
            best = replace(found, bound=min(bound, found.cost), status=_status(found, bound))
            wider = min(max_moves, (found.cost - 1) // single)
            if best.status is Status.OPTIMAL or wider <= steps:
                return best
            steps = wider
        elif found.status is Status.INFEASIBLE:
            steps += 1
            least = max(least, steps * single)
        else:
            break
    if best is None and steps > max_moves:
        return Found(Status.INFEASIBLE, bound=least)
    return best or Found(Status.UNKNOWN, bound=least)


def _status(found: Found, bound: int) -> Status:
    return Status.OPTIMAL if bound >= found.cost else Status.FEASIBLE
