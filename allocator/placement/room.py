"""Room of one GPU: what of it is stranded, whether a change opened some, and what others leave of it. Asked by fleet,
inventory, extender and planners.
"""

from collections.abc import Mapping, Sequence

from allocator.mig.geometry import Geometry
from allocator.placement.fitting import GpuState

LeftRoom = Mapping[
    str, GpuState | None
]  # by GPU (UUID), only where others come first: what they leave; None if nothing
ALL_ROOM: LeftRoom = {}
_MOST_ASKED = 4096  # kept with each geometry


def stranded_slices(geometry: Geometry, state: int, demanded: frozenset[str]) -> int:
    """Free memory slices of one GPU that no legal placement of a demanded profile covers."""
    return stranded_mask(geometry, state, demanded).bit_count()


def stranded_mask(geometry: Geometry, state: int, demanded: frozenset[str]) -> int:
    """The same, as a bit per memory slice."""
    offered = frozenset(demanded.intersection(geometry.profile_index))
    return geometry.keep(_stranded, state, offered, most=_MOST_ASKED)


def _stranded(geometry: Geometry, state: int, demanded: frozenset[str]) -> int:
    covered = 0
    for index, after in enumerate(geometry.step[state]):
        if after >= 0 and geometry.placements[index].profile in demanded:
            covered |= geometry.placements[index].mask
    full = (1 << geometry.catalogue.memory_slices) - 1
    return full & ~int(geometry.masks[state]) & ~covered


def gained(before: GpuState | None, after: GpuState) -> bool:
    """Whether a GPU can take a slice where it could not, or is new."""
    if before is None or before[0] is not after[0]:
        return True
    return before[1] != after[1] and after[0].keep(_opened, before[1], after[1], most=_MOST_ASKED)


def _opened(geometry: Geometry, before: int, after: int) -> bool:
    """Whether some placement is legal in one state and was not in the other."""
    return bool(((geometry.step[after] >= 0) & (geometry.step[before] < 0)).any())


def remaining(usable: Sequence[tuple[str, GpuState]], left: LeftRoom) -> Sequence[tuple[str, GpuState]]:
    """These GPUs (UUID and state) with what others leave of them; closed ones are left out."""
    if not left:
        return usable
    states = ((uuid, left.get(uuid, state)) for uuid, state in usable)
    return tuple((uuid, state) for uuid, state in states if state is not None)
