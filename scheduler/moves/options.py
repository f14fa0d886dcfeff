"""MovesOptions: what is moved without being asked for. Made from the settings `moves_…`, read by the executor."""

from dataclasses import dataclass

from allocator.moves.budgets import TimeWindow
from allocator.moves.document import RepackMode

ALL_DAY = TimeWindow("00:00", "00:00")


@dataclass(frozen=True, slots=True)
class MovesOptions:
    """`on_refusal` is the mode of Repacks that are made for waiting pods, None for none; `most` the moves of one.

    They are made for a pod that has found no place for `after_s`. `stranded_share` is what idle-time defragmentation
    aims at in `window` with `budget` moves each, None for none. Of `namespaces` pods may be moved without a mark.
    """

    on_refusal: RepackMode | None = None
    most: int = 2
    after_s: float = 30.0
    stranded_share: float | None = None
    window: TimeWindow = ALL_DAY
    budget: int = 10
    namespaces: frozenset[str] = frozenset()
