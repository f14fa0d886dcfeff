"""State numbers: one numbering for the states of all GPU models that a fleet has. Owned by fleet.

A policy's losses are then one array per profile, whatever the models. A model's numbers are given back with its last
node: models come from reports, so that there may be ever new ones.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from allocator.mig.geometry import Geometry

NO_GPU = 0  # the number of "no such GPU here": nothing fits


class StateNumbers:
    """The number of each geometry's state 0; the others follow it. `size` is the first number that is not in use."""

    def __init__(self) -> None:
        self._offsets: dict[Geometry, int] = {}
        self._nodes: dict[Geometry, int] = {}  # how many have it
        self.size = 1

    @property
    def offsets(self) -> Mapping[Geometry, int]:
        """By geometry, the number of its state 0."""
        return self._offsets

    def __getitem__(self, geometry: Geometry) -> int:
        return self._offsets[geometry]

    def offers(self, profile: str) -> bool:
        """Whether some model has a profile."""
        return any(profile in geometry.profile_index for geometry in self._offsets)

    def add(self, geometries: Iterable[Geometry]) -> bool:
        """One more node has these. Returns whether some are new here."""
        before = self.size
        for geometry in geometries:
            if geometry not in self._offsets:
                self._offsets[geometry] = self.size
                self.size += geometry.states
            self._nodes[geometry] = self._nodes.get(geometry, 0) + 1
        return self.size > before

    def remove(self, geometries: Iterable[Geometry]) -> npt.NDArray[np.int32] | None:
        """One node less has these. If some were the last, all are numbered anew: the new number by the old one."""
        gone = False
        for geometry in geometries:
            self._nodes[geometry] -= 1
            gone = gone or not self._nodes[geometry]
        return self._renumbered() if gone else None

    def _renumbered(self) -> npt.NDArray[np.int32]:
        renumbered = np.full(self.size, NO_GPU, dtype=np.int32)
        before, self._offsets, self.size = self._offsets, {}, 1
        for geometry, offset in before.items():
            if self._nodes[geometry]:
                self._offsets[geometry] = self.size
                renumbered[offset : offset + geometry.states] = np.arange(self.size, self.size + geometry.states)
                self.size += geometry.states
            else:
                del self._nodes[geometry]
        return renumbered
