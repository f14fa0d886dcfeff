"""Slices annotation: what a pod's author says of several slices of one container. Read by the scheduler and the agents.

The text is anybody's: whatever it says, something is done, and what is not understood is named in a few words.
"""

from typing import NamedTuple

from allocator.claims.contract import SLICES_ANNOTATION

SPREAD, PACK = "spread", "pack"
_SHOWN = 40  # characters of a value that is not understood


class SlicesWish(NamedTuple):
    """Whether slices of one container may share a GPU; and, where the annotation cannot be understood, what it says."""

    packed: bool = False
    problem: str = ""


_SPREAD, _PACK = SlicesWish(), SlicesWish(packed=True)


def read(text: str | None) -> SlicesWish:
    """The wish in an annotation's text; None if there is no annotation. What is not understood counts as `spread`."""
    if text is None or text == SPREAD:
        return _SPREAD
    if text == PACK:
        return _PACK
    said = ascii(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")
    return SlicesWish(
        problem=f"annotation {SLICES_ANNOTATION} is {said}, which is not known; write {SPREAD} or {PACK}; "
        f"it counts as {SPREAD}"
    )
