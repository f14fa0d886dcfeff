"""Repack: the cheapest ordered list of pod restarts that makes room or empties GPUs. A plan; nothing is carried out.

`answer` is the whole command: a parsed document and a snapshot in, an answer out that JSON can hold. Called by
`migsched repack`, the API and the capacity answers, in a process of their own: solving may take seconds. Explained
in docs/planning.md.
"""

from typing import Any

from allocator.claims.snapshot_file import Saved
from allocator.planning.repack import planner

DEFAULT_TIME_LIMIT_S = 10.0


def answer(document: Any, saved: Saved, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> dict[str, Any]:
    """The cheapest repack of a snapshot for a document (docs/planning.md), proven or with its gap.

    `possible` is false where there is none, with the reason; null where none was found and none is proven impossible.
    `notes` repeats those of the snapshot, if it has any. Raises InputError for a document that cannot be meant.
    """
    found = planner.answer(document, saved, time_limit_s)
    return found | ({"notes": list(saved.notes)} if saved.notes else {})
