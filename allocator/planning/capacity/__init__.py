"""Capacity: what fits now, what would fit after a repack or with more nodes, and whether given pods fit together.

`answer` is the whole command: a parsed document and a snapshot (or the fleet described in the document) in, a
CapacityAnswer out, whose fields are those of the JSON. Called by `migsched capacity` and the API, in a process of their
own: solving may take seconds. Explained in docs/planning.md.
"""

from collections.abc import Mapping
from typing import Any

from allocator.claims.snapshot_file import Saved
from allocator.mig.catalogue import Catalogue
from allocator.planning.capacity import planner
from allocator.planning.capacity.joint_fit import EXACT_COLUMNS
from allocator.planning.capacity.types import CapacityAnswer

DEFAULT_TIME_LIMIT_S = 10.0


def answer(
    document: Any,
    saved: Saved | None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    catalogues: Mapping[str, Catalogue] | None = None,
    exact_columns: int = EXACT_COLUMNS,
) -> CapacityAnswer:
    """What fits (docs/planning.md). A `fleet` in the document is looked at instead of the snapshot.

    `catalogues` are GPU models known beside the table of `gpu_models`. Pods with several slices are decided exactly up
    to `exact_columns` ways to place them, and left open beyond. Raises InputError for a document that is not valid, or
    if there is neither fleet nor snapshot.
    """
    return planner.answer(document, saved, time_limit_s, catalogues or {}, exact_columns)
