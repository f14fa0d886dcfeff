"""Layouts: a plan's counts turned into GPUs with every slice at its start. Called by `plan.answer`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import room
from allocator.planning.packing import patterns
from allocator.planning.packing.covering import Cover, Supply
from allocator.planning.plan.problem import Pinned


@dataclass(frozen=True, slots=True)
class Layout:
    """One way a GPU is cut: the slices that it has already, then the new ones in the order to create them."""

    geometry: Geometry
    pinned: tuple[Placement, ...]
    new: tuple[Placement, ...]

    @property
    def slices(self) -> tuple[Placement, ...]:
        """All slices; every beginning of the list is legal."""
        return self.pinned + self.new

    def stranded(self, wanted: frozenset[str]) -> int:
        """Free memory slices that no wanted profile could use."""
        return room.stranded_slices(self.geometry, self.geometry.state_of(self.slices), wanted)


def of_cover(cover: Cover, supplies: Sequence[Supply], pinned: Mapping[Pinned, int]) -> Mapping[Layout, int]:
    """How many GPUs get which layout, pinned ones first. The first supplies are the pinned GPUs, in their order."""
    gpus = list(pinned)
    untouched = list(pinned.values())
    counted: Counter[Layout] = Counter()
    for use in cover.uses:
        supply = supplies[use.supply]
        counts = {name: n for name, n in zip(cover.names, use.counts, strict=True) if n}
        new = patterns.arrange(supply.geometry, supply.state, counts)
        pinned_slices: tuple[Placement, ...] = ()
        if use.supply < len(gpus):
            pinned_slices = gpus[use.supply].slices
            untouched[use.supply] -= use.number
        counted[Layout(supply.geometry, pinned_slices, new)] += use.number
    for gpu, number in zip(gpus, untouched, strict=True):
        if number:
            counted[Layout(gpu.geometry, gpu.slices, ())] += number
    return dict(sorted(counted.items(), key=_order))


def _order(entry: tuple[Layout, int]) -> tuple[str, bool, int, tuple[Placement, ...]]:
    layout, number = entry
    return layout.geometry.catalogue.model, not layout.pinned, -number, layout.slices
