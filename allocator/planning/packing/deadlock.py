"""Deadlock: whether slices stand in each other's way for good, seen by visiting every arrangement, if they are few.

Where every restart is blocked, or the few that are not lead round in a circle, no number of restarts makes room. The
search step by step would have to try every length up to the most. Called by `repack.search`.
"""

from collections import Counter
from collections.abc import Iterator

from allocator.mig.geometry import Geometry
from allocator.placement import fitting
from allocator.planning.packing.relocation import Place, RelocationProblem

MOST_ARRANGEMENTS = 200

_Arrangement = frozenset[Place]  # where slices are that may move; pods of one profile are alike


def proven(problem: RelocationProblem, most: int = MOST_ARRANGEMENTS) -> bool:
    """Whether no restarts at all lead to an answer, budgets aside. False also where more than `most` can be reached.

    For pods of one slice each.
    """
    if any(len(job.profiles) != 1 for job in (*problem.jobs, *problem.requests)):
        return False
    start: _Arrangement = frozenset(job.home[0] for job in problem.jobs)
    known, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        if _may_answer(problem, here):
            return False
        for after in _restarts(problem, here):
            if after not in known:
                if len(known) >= most:
                    return False
                known.add(after)
                waiting.append(after)
    return True


def _restarts(problem: RelocationProblem, here: _Arrangement) -> Iterator[_Arrangement]:
    """Every arrangement that one restart makes of this one."""
    for place in sorted(here):
        rest = here - {place}
        for where, state in enumerate(_states(problem, rest)):
            kind = problem.bins[where].geometry
            name = place[1].profile
            for index in kind.placements_of(name) if name in kind.profile_index else ():
                if kind.step[state, index] >= 0:
                    yield rest | {(where, kind.placements[index])}


def _may_answer(problem: RelocationProblem, here: _Arrangement) -> bool:
    """Whether the requests fit and enough GPUs are empty, each seen alone."""
    states = _states(problem, here)
    used = {where for where, _ in here}
    empty = {where for where, gpu in enumerate(problem.bins) if not gpu.fixed and where not in used}
    if not problem.emptied <= empty or len(empty) < problem.empty:
        return False
    gpus = [(gpu.geometry, states[where]) for where, gpu in enumerate(problem.bins) if where not in problem.emptied]
    try:
        return fitting.fits(gpus, Counter(request.profiles[0] for request in problem.requests))
    except fitting.TooComplexError:
        return True


def _states(problem: RelocationProblem, here: _Arrangement) -> list[int]:
    slices = [list(gpu.fixed) for gpu in problem.bins]
    for where, placement in here:
        slices[where].append(placement)
    return [
        gpu.geometry.state_of(on_gpu) if on_gpu else Geometry.EMPTY
        for gpu, on_gpu in zip(problem.bins, slices, strict=True)
    ]
