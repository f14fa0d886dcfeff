"""Reasons: why there is no repack, or why that is open, in one sentence. Called by `repack.planner`.

A rule is named if there would be a repack without it: each is tried alone first, then as few together as suffice. What
a search leaves undecided is said to be undecided; only a proof is called one.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from allocator.claims.snapshot_file import PodFacts, Saved
from allocator.planning.packing.program import SolveStatus
from allocator.planning.packing.relocation import RelocationProblem, RelocationSolution
from allocator.planning.repack import problem, search
from allocator.planning.repack.problem import RepackLimits, RepackProblem, Rule
from allocator.planning.repack.types import MAX_MOVES

_ALONE = 1 / 8  # of the time limit, for a search without one rule or without all
_FEWER = 1 / 12  # … and for one without fewer than known to suffice
_UNMARKED = "it is not marked movable"  # of pods of which no more is known than that
_UNKNOWN = PodFacts(kept="nothing is known of it")
_MOST_REASONS = 3
_SPENT = 0.6  # of the time limit: who has used so much of it may need more


@dataclass(frozen=True, slots=True)
class Solved:
    """A snapshot's GPUs and pods, what was asked of the packing, and what the packing found."""

    problem: RepackProblem
    relocation: RelocationProblem
    solution: RelocationSolution

    @property
    def possible(self) -> bool | None:
        """Whether there is a repack; None where that is open."""
        if self.solution.status in search.SOLVED:
            return True
        return False if self.solution.status is SolveStatus.INFEASIBLE else None


Without = Callable[[Collection[Rule], float], Solved]  # the question without some rules, in a part of the time


def undecided(relocation: RelocationProblem, solution: RelocationSolution, time_limit_s: float) -> str:
    """What was tried where neither a repack nor a proof was found."""
    open_ = "none was found, and none is proven impossible"
    if solution.seconds >= _SPENT * time_limit_s:
        return f"{open_}: the time limit of {time_limit_s:g} s came first; allow more time"
    gpus = len(relocation.bins)
    tried = f"of {gpus} GPUs those worth clearing and those with room for what leaves them were searched"
    return f"{open_}: the fleet is too large to search whole; {tried}. More time does not help; more moves may"


def why_not(saved: Saved, limits: RepackLimits, without: Without, time_limit_s: float) -> str:
    """Why there is no repack, which is proven: the first rule without which there would be one."""
    rules = _binding(saved, limits)
    free = without(rules, _ALONE)
    if free.possible is None:
        named = ", ".join(_in_words(rule, saved) for rule in rules)
        return f"proven impossible; whether it were possible without {named} was not decided within {time_limit_s:g} s"
    if not free.possible:
        return _never(free, time_limit_s * _ALONE)
    open_ = False
    for rule in rules:
        possible = without([rule], _ALONE).possible
        if possible:
            return f"kept from it by {_in_words(rule, saved)}"
        open_ = open_ or possible is None
    kept = list(rules)
    for rule in reversed(rules):
        fewer = [other for other in kept if other is not rule]
        possible = without(fewer, _FEWER).possible if fewer else False
        if possible:
            kept = fewer
        open_ = open_ or possible is None
    together = " and ".join(_in_words(rule, saved) for rule in kept)
    hedge = "; whether by fewer of them was not decided in time" if open_ else ""
    return f"kept from it by {together}{' together' if len(kept) > 1 else ''}{hedge}"


def _in_words(rule: Rule, saved: Saved) -> str:
    """A rule; that of pods which may not be moved with what keeps them, the most frequent reasons first."""
    words: str = rule.value
    if rule is not Rule.MOVABLE:
        return words
    holders = {occupant.uid for gpu in saved.snapshot.gpus() for occupant in gpu.occupants if occupant.uid}
    facts = (saved.pods.get(uid, _UNKNOWN) for uid in holders)
    reasons = Counter(known.kept or _UNMARKED for known in facts if not known.movable)
    told = [f"{number}: {reason}" for reason, number in sorted(reasons.items(), key=_frequent_first)[:_MOST_REASONS]]
    others = len(reasons) - len(told)
    if others:
        told.append(f"{others} more {'reason' if others == 1 else 'reasons'}")
    return f"{words} ({'; '.join(told)})"


def _frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    reason, number = item
    return -number, reason


def _binding(saved: Saved, limits: RepackLimits) -> list[Rule]:
    """The rules that keep anything in place here."""
    free = problem.build(saved, limits, tuple(Rule))
    if not free.pods:
        return []
    return [
        rule
        for rule in Rule
        if rule is Rule.BUDGETS
        or problem.build(saved, limits, tuple(other for other in Rule if other is not rule)).pods != free.pods
    ]


def _never(free: Solved, time_limit_s: float) -> str:
    """Why not even without any rule: there is no such end, or no way to it."""
    end = search.cheapest_end(free.relocation, time_limit_s)
    if end.status is SolveStatus.INFEASIBLE:
        return "not even if every slice could be moved: the GPUs cannot hold all of it at once"
    if end.status is SolveStatus.UNKNOWN:
        return "not even if every slice could be moved; whether the GPUs could hold all of it was not decided in time"
    if len(end.moves) > MAX_MOVES:
        return f"it takes more than {MAX_MOVES} restarts, the most that are planned at once"
    return (
        "no order of restarts leads there: the GPUs could hold all of it, but the slices stand in each other's way,"
        " and there is no room to step aside"
    )
