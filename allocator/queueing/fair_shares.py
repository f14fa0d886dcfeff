"""Fair shares: whose pods come first within one priority, so that namespaces get equal parts of what is scarce.

Dominant resource fairness (Ghodsi et al., NSDI 2011): each GPU model is a resource, its memory slices are the amount. A
namespace's dominant share is its part of the model of which it holds the largest part. The namespace with the smallest
dominant share is served next, its oldest pod first; of equal ones, the one whose pod is older. Asked by the queueing
cycle where `queue_order` is `fair`.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from allocator.claims.ledger import Claim
from allocator.queueing.queued_pod import QueuedPod

Unit = Sequence[QueuedPod]  # a pod, or the pods of a gang, which are of one namespace and placed at once
ModelOf = Callable[[str, str], str]  # the model of a GPU: of which node, by UUID; empty where it is not known


class HeldSlices:
    """Memory slices that each namespace holds, by GPU model. Follows a ledger: `Ledger.on_change` is `changed`."""

    def __init__(self, model_of: ModelOf, claims: Iterable[Claim] = ()) -> None:
        self._model_of = model_of
        self._counted: dict[str, tuple[str, Mapping[str, int]]] = {}  # by UID: as what a claim was counted
        self._held: dict[str, dict[str, int]] = {}
        for claim in claims:
            self.changed(None, claim)

    def changed(self, before: Claim | None, after: Claim | None) -> None:
        """A claim is new, other than before, or over."""
        if before is not None and after is not None and before.holds == after.holds:
            return
        if before is not None and before.uid in self._counted:
            self._add(*self._counted.pop(before.uid), sign=-1)
        if after is not None:
            amounts: dict[str, int] = {}
            for hold in after.holds:
                model = self._model_of(after.node, hold.gpu)
                amounts[model] = amounts.get(model, 0) + hold.placement.size
            self._counted[after.uid] = (after.namespace, amounts)
            self._add(after.namespace, amounts, sign=1)

    def of(self, namespace: str) -> Mapping[str, int]:
        """What a namespace holds."""
        return self._held.get(namespace, {})

    def _add(self, namespace: str, amounts: Mapping[str, int], sign: int) -> None:
        held = self._held.setdefault(namespace, {})
        for model, slices in amounts.items():
            held[model] = held.get(model, 0) + sign * slices
            if not held[model]:
                del held[model]
        if not held:
            del self._held[namespace]


def dominant_share(held: Mapping[str, int], fleet: Mapping[str, int]) -> float:
    """The largest part that somebody holds of a model: memory slices held ÷ those of the fleet, by model.

    A model that the fleet does not have any more is no resource, so what is still held of it does not count. Quotients
    of such small numbers are different floats where they are different.
    """
    return max((slices / fleet[model] for model, slices in held.items() if fleet.get(model)), default=0.0)


def fair_order(units: Sequence[Unit], share_of: Callable[[str], float]) -> Iterator[Unit]:
    """The units of each priority in turn, of the namespace with the smallest share first.

    `units` are in the order of priority and age. The order is made as it is taken: after each unit its namespace's
    share is asked again, so what found no place costs its namespace nothing. Other namespaces' shares are those at the
    time when their units came up last.
    """
    for _, of_priority in groupby(units, key=lambda unit: unit[0].priority):
        yield from _fair(of_priority, share_of)


def _fair(units: Iterable[Unit], share_of: Callable[[str], float]) -> Iterator[Unit]:
    lines: dict[str, deque[tuple[int, Unit]]] = {}
    for at, unit in enumerate(units):
        lines.setdefault(unit[0].namespace, deque()).append((at, unit))
    turns = [(share_of(namespace), line[0][0], namespace) for namespace, line in lines.items()]
    heapq.heapify(turns)
    while turns:
        _, _, namespace = turns[0]
        line = lines[namespace]
        yield line.popleft()[1]
        if line:
            heapq.heapreplace(turns, (share_of(namespace), line[0][0], namespace))
        else:
            heapq.heappop(turns)
