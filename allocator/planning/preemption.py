"""Which pods must go from a node so that a request fits: the fewest, and among those the least important.

Called by the extender's preempt verb. A pure question to the inventory: nothing is changed. Counting slices is not
enough, since room must arise where a placement is legal; so every candidate set is judged by the exact fit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from allocator.claims.inventory import Inventory
from allocator.placement import fitting
from allocator.placement.fitting import GpuState
from allocator.request import Request

MAX_PAIRS = 2_000  # sets of two that are tried before whole priorities are


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that may be evicted."""

    uid: str
    priority: int


def victims(
    inventory: Inventory, request: Request, node: str, leaving: frozenset[str], candidates: Iterable[Candidate]
) -> Sequence[str] | None:
    """Pods to evict beside those `leaving`, so that the request fits the node; None if nothing helps.

    One or two pods are found exactly; past that, candidates are added lowest priority first and then those not
    needed are spared.
    """
    rest = sorted((c for c in candidates if c.uid not in leaving), key=lambda c: (c.priority, c.uid))
    gpus_without = _Leaving(inventory, node, leaving)

    def fits_without(gone: Iterable[str]) -> bool:
        try:
            return fitting.fits(gpus_without(frozenset(gone)), dict(request.counts))
        except fitting.TooComplexError:
            return False

    if fits_without(()):
        return ()
    if not fits_without(c.uid for c in rest):
        return None
    for pod in rest:
        if fits_without((pod.uid,)):
            return (pod.uid,)
    for tried, pair in enumerate(combinations(rest, 2)):
        if tried >= MAX_PAIRS:
            break
        if fits_without(c.uid for c in pair):
            return tuple(c.uid for c in pair)
    return _spared(rest, fits_without)


class _Leaving:
    """The GPUs of a node without some pods. Thousands of pairs are asked for, and most pairs share no GPU: these are
    put together from what each pod leaves behind alone.
    """

    def __init__(self, inventory: Inventory, node: str, leaving: frozenset[str]) -> None:
        self._inventory = inventory
        self._node = node
        self._leaving = leaving
        self._with_all = inventory.gpus_without(node, leaving)
        self._alone: dict[str, Mapping[int, GpuState]] = {}

    def __call__(self, gone: frozenset[str]) -> Sequence[GpuState]:
        changed: dict[int, GpuState] = {}
        for uid in gone:
            left = self._left_by(uid)
            if not changed.keys().isdisjoint(left):
                return self._inventory.gpus_without(self._node, self._leaving | gone)
            changed.update(left)
        return [changed.get(index, gpu) for index, gpu in enumerate(self._with_all)]

    def _left_by(self, uid: str) -> Mapping[int, GpuState]:
        """The GPUs that look otherwise without this pod, by their index."""
        if uid not in self._alone:
            without = self._inventory.gpus_without(self._node, self._leaving | {uid})
            pairs = enumerate(zip(self._with_all, without, strict=True))
            self._alone[uid] = {index: after for index, (before, after) in pairs if after != before}
        return self._alone[uid]


def _spared(rest: Sequence[Candidate], fits_without: Callable[[Iterable[str]], bool]) -> Sequence[str]:
    chosen: list[str] = []
    for pod in rest:
        chosen.append(pod.uid)
        if fits_without(chosen):
            break
    for uid in reversed(chosen[:-1]):  # the most important first
        fewer = [other for other in chosen if other != uid]
        if fits_without(fewer):
            chosen = fewer
    return tuple(chosen)
