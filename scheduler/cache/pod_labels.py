"""Pod labels: those of a pod on a node, for the disruption budgets that may cover it, in few bytes.

A pod may have 24,000 labels. Of one with more than anybody needs they are not kept, and every budget of its namespace
is taken to cover it. Equal labels are kept once, as pods of one owner mostly share them, and go with the last pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from allocator.eligibility import pod_selector

MAX_LABELS = 64
MAX_CHARACTERS = 4_096


@dataclass(frozen=True, slots=True, weakref_slot=True)
class PodLabels:
    """The labels of a pod. Get them from `of`."""

    text: str

    def mapping(self) -> Mapping[str, str]:
        """Values by key."""
        return pod_selector.unpacked(self.text) or {}


def of(labels: Mapping[str, str] | None) -> PodLabels | None:
    """These labels; None if they are too many to be kept."""
    if not labels:
        return NONE
    if len(labels) > MAX_LABELS:
        return None
    text = pod_selector.packed(labels)
    if len(text) > MAX_CHARACTERS:
        return None
    kept = _in_use.get(text)
    if kept is None:
        kept = _in_use[text] = PodLabels(text)
    return kept


NONE = PodLabels("")

_in_use: WeakValueDictionary[str, PodLabels] = WeakValueDictionary()
