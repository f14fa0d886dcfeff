"""Turns: in which order the cycle looks at those who wait, and, for explanations, where each of them stood last.

With fair shares the order is made while it is taken: whoever found a place comes later the next time.
"""

from collections.abc import Iterator, Sequence

from allocator.claims.inventory import Inventory
from allocator.queueing.fair_shares import HeldSlices, Unit, dominant_share, fair_order
from scheduler.cache.cluster_cache import ClusterCache


class Turns:
    """The order of one cycle after the other. With `fair` it follows the ledger from now on."""

    def __init__(self, state: ClusterCache, *, fair: bool) -> None:
        self._state = state
        self._held = _following(state.inventory) if fair else None

    def taken(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """The units, which are in the order of priority and age, in turn. The next one is chosen when it is taken."""
        before, ledger = 0, self._state.inventory.ledger
        positions: dict[str, int] = {}
        for unit in self._in_order(units):
            yield unit
            waiting = 0
            for pod in unit:
                if ledger.get(pod.uid) is None:
                    positions[pod.uid] = before
                    waiting += 1
            before += waiting
        self._state.queue.stood(positions)

    def _in_order(self, units: Sequence[Unit]) -> Iterator[Unit]:
        if self._held is None:
            return iter(units)
        held, fleet = self._held, self._state.inventory.fleet.memory_slices()
        return fair_order(units, lambda namespace: dominant_share(held.of(namespace), fleet))


def _following(inventory: Inventory) -> HeldSlices:
    def model_of(node: str, gpu: str) -> str:
        report = inventory.report(node)
        catalogue = next((g.catalogue for g in report.gpus if g.uuid == gpu), None) if report is not None else None
        return catalogue.model if catalogue is not None else ""

    held = HeldSlices(model_of, inventory.ledger)
    inventory.ledger.on_change = held.changed
    return held
