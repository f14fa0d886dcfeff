"""Repack: the cheapest ordered list of pod restarts that makes room or empties GPUs. A plan; nothing is carried out.

`answer` is the whole command: a parsed document and a snapshot in, a RepackAnswer out, whose fields are those of the
JSON. Called by `migsched repack`, the API and the capacity answers, in a process of their own: solving may take
seconds. Explained in docs/planning.md.
"""

from typing import Any

from allocator.claims.snapshot_file import Saved
from allocator.planning.repack import planner
from allocator.planning.repack.types import RepackAnswer

DEFAULT_TIME_LIMIT_S = 10.0


def answer(document: Any, saved: Saved, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> RepackAnswer:
    """The cheapest repack of a snapshot for a document (docs/planning.md), proven or with its gap.

    `possible` is false where there is none, with the reason; null where none was found and none is proven impossible.
    `notes` repeats those of the snapshot, if it has any. Raises InputError for a document that is not valid.
    """
    return planner.answer(document, saved, time_limit_s)
