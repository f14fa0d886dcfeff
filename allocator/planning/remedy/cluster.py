"""RemedyCluster: a snapshot's nodes as they would be without some pods, for the question where one pod fits.

Used by the searches of this package. All nodes are judged at once, as the extender's filter does.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from allocator import errors
from allocator.claims.snapshot import NodeView
from allocator.claims.snapshot_file import IDLE
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.placement.fitting import GpuState
from allocator.placement.fleet import Fleet
from allocator.placement.policy import DEFAULT
from allocator.request import Request, SliceRequest


class RemedyCluster:
    """The nodes of a snapshot that may run the pod."""

    def __init__(self, nodes: Sequence[NodeView]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._kinds = _Kinds()
        self._fleet = Fleet(DEFAULT)
        for node in nodes:
            self._fleet.put(node.name, self._kinds.states(node, ()))

    def fits(self, counts: Mapping[str, int]) -> tuple[str, bool]:
        """The first node of least loss on which slices of these profiles fit, empty if there is none; and whether that
        is certain of all nodes: some mixes of slices are too many to be judged.
        """
        names = list(self.nodes)
        if not names:
            return "", True
        losses = self._fleet.losses(request(counts), self._fleet.rows_of(names))
        certain = not bool(self._fleet.too_complex(losses).any())
        finite = np.where(np.isfinite(losses), losses, np.inf)
        best = int(finite.argmin())
        return (names[best], True) if np.isfinite(finite[best]) else ("", certain)

    def fits_without(self, node: str, gone: Collection[str], counts: Mapping[str, int]) -> bool:
        """Whether slices of these profiles fit on a node without the pods of these UIDs; False if that is too hard."""
        alone = Fleet(DEFAULT)
        alone.put(node, self._kinds.states(self.nodes[node], gone))
        return bool(np.isfinite(alone.losses(request(counts), alone.rows_of([node])))[0])

    def catalogues(self) -> Mapping[Catalogue, int]:
        """The GPU models of usable GPUs, with the most that one node has of them."""
        most: dict[Geometry, int] = {}
        for node in self.nodes:
            for kind, number in Counter(kind for kind, _ in self._fleet.gpus(node)).items():
                most[kind] = max(most.get(kind, 0), number)
        return {kind.catalogue: number for kind, number in most.items()}

    def emptiest(self, gpus: int, profiles: Collection[str]) -> Sequence[NodeView]:
        """The nodes with most memory slices free on GPUs that offer a profile, up to so many GPUs; all if they are
        fewer. In the order of the snapshot.
        """
        free = {name: self._free(name, profiles) for name in self.nodes}
        chosen, left = set(), gpus
        for name in sorted(self.nodes, key=lambda name: (-free[name], name)):
            left -= len(self._fleet.gpus(name))
            if left < 0:
                break
            chosen.add(name)
        return [node for name, node in self.nodes.items() if name in chosen]

    def _free(self, node: str, profiles: Collection[str]) -> int:
        states = self._fleet.gpus(node)
        return sum(
            kind.free_slices(state) for kind, state in states if not kind.profile_index.keys().isdisjoint(profiles)
        )


class _Kinds:
    """The geometries of a snapshot's catalogues, which its GPUs share: thousands of look-ups by value take seconds."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Catalogue, Geometry]] = {}

    def states(self, node: NodeView, gone: Collection[str]) -> tuple[GpuState, ...]:
        """The states of a node's usable GPUs without these pods; a GPU that contradicts itself is left out."""
        found = []
        for gpu in node.gpus:
            if gpu.catalogue is not None and not gpu.problem:
                kind = self._geometry(gpu.catalogue)
                taken = [o.placement for o in gpu.occupants if o.state != IDLE and (not o.uid or o.uid not in gone)]
                try:
                    found.append((kind, kind.state_of(taken)))
                except errors.GeometryError:
                    continue
        return tuple(found)

    def _geometry(self, catalogue: Catalogue) -> Geometry:
        known = self._of.get(id(catalogue))
        if known is None:
            known = self._of[id(catalogue)] = (catalogue, geometry.compiled(catalogue))
        return known[1]


def request(counts: Mapping[str, int]) -> Request:
    """A pod's request for so many slices."""
    return Request(tuple(SliceRequest("", name) for name, number in counts.items() for _ in range(number)))


def states(node: NodeView, gone: Collection[str]) -> tuple[GpuState, ...]:
    """The states of a node's usable GPUs without the pods of these UIDs; a GPU that contradicts itself is left out."""
    return _Kinds().states(node, gone)
