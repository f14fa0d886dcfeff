"""Planning: how many GPUs a demand needs, how each is cut, and what proves that fewer would not do.

`answer` is the whole command: a parsed document in, a PlanAnswer out, whose fields are those of the JSON. Called by
`migsched plan` and the API, in a process of their own: solving may take seconds. Explained in docs/planning.md.
"""

from collections.abc import Mapping
from typing import Any

from allocator.mig.catalogue import Catalogue
from allocator.planning.plan import planner
from allocator.planning.plan.types import PlanAnswer

DEFAULT_TIME_LIMIT_S = 8.0


def answer(
    document: Any, time_limit_s: float = DEFAULT_TIME_LIMIT_S, catalogues: Mapping[str, Catalogue] | None = None
) -> PlanAnswer:
    """The cheapest plan for a document (docs/planning.md), proven or with its gap.

    `catalogues` are GPU models known beside the table of `gpu_models`, such as those of a live cluster. Where the
    stock is too small the answer has `feasible: false` and what would be needed; `feasible: null` means that the time
    limit came first. Raises InputError for a document that is not valid.
    """
    return planner.answer(document, time_limit_s, catalogues or {})
