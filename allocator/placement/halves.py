"""Halves: the order in which HAMi's main branch tries the starts of a profile on one GPU. Called by `policy`.

HAMi 2.10 goes by the profile's name alone: 1g and 3g from the top, others from the bottom. What replaced it on the
main branch (pull request 2855, merged after 2.10, read in September 2026) looks at the two halves of the card, and
that rule is written down here in our terms. HAMi's own search over several slices of one pod is not part of it: which
sets fit together is exact here under every policy.
"""

import numpy as np
import numpy.typing as npt

from allocator.mig.geometry import Geometry

Ranks = npt.NDArray[np.float64]
Span = tuple[int, int]  # memory slices: the first, and the one after the last


def ranks(geometry: Geometry) -> Ranks:
    """The place of each placement among its profile's in each state, 0 first; states × placements.

    First goes what leaves more halves of the card untouched; then what lies in the half of its kind (slices that fill
    a half belong in the half that offers fewer placements, the upper of equals, and smaller ones in the other); then
    what lies farther from the middle; then the lower start. On a card where a placement lies across the middle, other
    than one that covers the card, there are no halves, and only the start decides. What illegal steps hold does not
    matter.
    """
    halves = _halves(geometry)
    spans = _spans(geometry)
    base = geometry.catalogue.memory_slices + 1  # above each of the figures, so that they are digits of one number
    later = np.array(
        [base * (base * _foreign(spans, span, halves) - _from_middle(span, halves)) + span[0] for span in spans]
    )
    keys = base**3 * _touched(geometry, halves) + later
    order: Ranks = np.zeros(keys.shape)
    for name in geometry.profiles:
        columns = np.array(geometry.placements_of(name))
        order[:, columns] = keys[:, columns].argsort(axis=1).argsort(axis=1)  # the place of each among them
    return order


def _spans(geometry: Geometry) -> list[Span]:
    """Where every placement lies."""
    return [(p.start, p.start + p.size) for p in geometry.placements]


def _halves(geometry: Geometry) -> list[Span]:
    """Both halves of the card, or none where a placement lies across the middle.

    The card reaches as far as its placements do; where that is an odd number, the lower half is the smaller one.
    """
    spans = _spans(geometry)
    end = max(after for _, after in spans)
    middle = end // 2
    across = any(first < middle < after and after - first < end for first, after in spans)
    return [] if across or not middle else [(0, middle), (middle, end)]


def _within(span: Span, half: Span) -> bool:
    return half[0] <= span[0] and span[1] <= half[1]


def _foreign(spans: list[Span], span: Span, halves: list[Span]) -> bool:
    """Whether a placement lies in the half of the other kind."""
    offered = [sum(_within(other, half) for other in spans) for half in halves]
    for index, half in enumerate(halves):
        if _within(span, half):
            kept = 0 if offered[0] < offered[1] else 1  # for slices that fill it
            return (span == half) != (index == kept)
    return False


def _from_middle(span: Span, halves: list[Span]) -> int:
    """Memory slices between a placement and the middle; 0 for one that lies in no half."""
    if not any(_within(span, half) for half in halves):
        return 0
    middle = halves[1][0]
    return span[0] - middle if span[0] >= middle else middle - span[1]


def _touched(geometry: Geometry, halves: list[Span]) -> npt.NDArray[np.int64]:
    """Halves with a slice in them once the placement is made, states × placements."""
    placed = np.array([p.mask for p in geometry.placements])
    after = geometry.masks[:, None] | placed[None, :]
    counts = np.zeros(after.shape, dtype=np.int64)
    for first, end in halves:
        counts += (after & ((1 << end) - (1 << first))) != 0
    return counts
