"""Orientation: how the driver numbers GPU instances. Used by gpu.

A GPU instance id is not a serial number: it is the node of a binary tree over the GPU. 0 is the whole, 1 and 2 its
halves, 3 to 6 the quarters, 7 to 14 the eighths. So the same place always has the same id, and an id is reused as
soon as its place is free. Two numberings are seen on seven-slice GPUs, by which of the eight leaves was fused off.
"""

from enum import StrEnum


class Orientation(StrEnum):
    """Where the numbering of a GPU's leaves begins."""

    NORMAL = "normal"  # id 14 is missing: the leaf without compute comes last
    HALVES_SWAPPED = "halves-swapped"  # id 10 is missing: ids count from the upper half


def gi_id(start: int, size: int, units: int, orientation: Orientation) -> int:
    """The GPU instance id of `size` memory slices from `start` on a GPU of `units`.

    Raises ValueError for a span that is not a node of the tree.
    """
    if units % size or start % size or not 0 <= start <= units - size:
        raise ValueError(f"{start}:{size} of {units} memory slices is not a node of the tree")
    if orientation is Orientation.HALVES_SWAPPED and size < units:
        start = (start + units // 2) % units
    return units // size - 1 + start // size
