"""Remedy: what would make room for one pod that waits, the cheapest first. A plan; nothing is carried out.

`answer` is all of it: a parsed document and a snapshot in, a RemedyAnswer out, whose fields are those of the JSON.
Called by the API in a process of its own: searching for moves may take seconds. Explained in docs/explain.md.
"""

from collections.abc import Mapping
from typing import Any

from allocator.claims.snapshot_file import Saved
from allocator.mig.catalogue import Catalogue
from allocator.planning.remedy import planner
from allocator.planning.remedy.types import RemedyAnswer

DEFAULT_TIME_LIMIT_S = 5.0


def answer(
    document: Any,
    saved: Saved,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    catalogues: Mapping[str, Catalogue] | None = None,
) -> RemedyAnswer:
    """What makes room for the pod of a document on the cluster of a snapshot, the cheapest first.

    `time_limit_s` bounds the search for moves; the rest is looked up. `catalogues` are GPU models known beside those
    of the cluster and of the table of `gpu_models`. Raises InputError for a document that is not valid.
    """
    return planner.answer(document, saved, time_limit_s, catalogues or {})
