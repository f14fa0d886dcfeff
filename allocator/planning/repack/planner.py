"""Planner: from a checked document and a snapshot to the answer of `repack.answer`.

`solve` is the part without documents, which the capacity answers use too.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from allocator import errors
from allocator.claims.snapshot import GpuView
from allocator.claims.snapshot_file import Saved
from allocator.planning import reading
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import Found, MovableJob, RelocationProblem
from allocator.planning.repack import document, neighbourhood, problem, render, search
from allocator.planning.repack.document import Wanted
from allocator.planning.repack.problem import RepackLimits, RepackProblem, Rule


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem with what was found for it."""

    problem: RepackProblem
    question: RelocationProblem
    found: Found

    @property
    def possible(self) -> bool | None:
        """Whether there is a repack; None where that is open."""
        if self.found.status in search.SOLVED:
            return True
        return False if self.found.status is SolveStatus.INFEASIBLE else None


def answer(value: Any, saved: Saved, time_limit_s: float) -> dict[str, Any]:
    """See `repack.answer`."""
    gpus = problem.usable(saved.snapshot)
    asked = document.parse(value, [n.name for n in saved.snapshot.nodes], sorted({gpu.model for gpu in gpus}))
    limit = float(reading.number(time_limit_s, "time limit", positive=True))
    check_offered(asked.requests, gpus, "requests")
    solved = solve(saved, asked.limits, asked.requests, limit, asked.empty_gpus, asked.empty_nodes)
    reason = "" if solved.possible else _why_not(saved, asked, solved, limit)
    return render.answer(solved.problem, solved.question, solved.found, solved.possible, asked, reason)


def solve(
    saved: Saved,
    limits: RepackLimits,
    requests: Sequence[Wanted],
    time_limit_s: float,
    empty_gpus: int = 0,
    empty_nodes: Collection[str] = (),
    ignored: Collection[Rule] = (),
) -> Solved:
    """The cheapest repack that makes room for the requests, with `empty_gpus` more empty GPUs than now."""
    posed = problem.build(saved, limits, ignored)
    budgets = () if Rule.BUDGETS in ignored else posed.budgets(saved, limits)
    emptied = frozenset(n for n, gpu in enumerate(posed.gpus) if gpu.node in empty_nodes)
    used = {where for pod in posed.pods for where, _ in pod.places}
    empty_now = sum(n not in used and not gpu.fixed for n, gpu in enumerate(posed.bins))
    question = RelocationProblem(
        bins=posed.bins,
        jobs=tuple(pod.job for pod in posed.pods),
        requests=tuple(MovableJob(one.profiles) for one in requests),
        empty=empty_now + empty_gpus if empty_gpus else 0,
        emptied=emptied,
        budgets=budgets,
    )
    moves = document.MAX_MOVES if Rule.BUDGETS in ignored else limits.moves
    return Solved(posed, question, neighbourhood.cheapest(question, moves, time_limit_s))


def check_offered(requests: Sequence[Wanted], gpus: Sequence[GpuView], where: str) -> None:
    """Raise InputError for a profile that no usable GPU of the cluster has."""
    there = dict.fromkeys(p.name for gpu in gpus if gpu.catalogue for p in gpu.catalogue.profiles)
    for request in requests:
        for name in request.profiles:
            if name not in there:
                fix = "use one of " + ", ".join(there) if there else "the cluster has no GPU that can be cut"
                raise errors.InputError(f"{where}: {request.name}", name, f"no GPU of the cluster offers it; {fix}")


def _why_not(saved: Saved, asked: document.RepackDocument, solved: Solved, time_limit_s: float) -> str:
    """Why there is no repack: the first rule without which there would be one."""
    if solved.possible is None:
        return f"none was found within {time_limit_s:g} s, and none is proven impossible; allow more time or more moves"
    ignored: list[Rule] = []
    for rule in Rule:
        ignored.append(rule)
        freed = solve(
            saved, asked.limits, asked.requests, time_limit_s / 8, asked.empty_gpus, asked.empty_nodes, ignored
        )
        if freed.possible:
            return f"kept from it by {' and '.join(one.value for one in ignored)}"
    return "not even if every pod could be moved: the GPUs cannot hold all of it at once"
