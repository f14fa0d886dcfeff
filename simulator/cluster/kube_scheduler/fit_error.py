"""Why a pod fits nowhere, in kube-scheduler's words and order, as its condition says. Used by scheduler."""

from collections import Counter
from collections.abc import Collection, Mapping

from simulator.cluster.kube_scheduler.in_tree import NodeRefusal

_HELPLESS = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"


def message(nodes: int, refusals: Mapping[str, NodeRefusal], *, may_preempt: bool = True) -> str:
    """The condition's text: identical reasons counted over nodes, then what became of preemption."""
    reasons = Counter(reason for refusal in refusals.values() for reason in refusal.reasons)
    text = _sentence(nodes, reasons)
    if not may_preempt:
        return f"{text} preemption: not eligible due to preemptionPolicy=Never."
    hopes = Counter(_NO_VICTIMS if refusal.resolvable else _HELPLESS for refusal in refusals.values())
    return f"{text} preemption: {_sentence(nodes, hopes)}"


def _sentence(nodes: int, reasons: Mapping[str, int]) -> str:
    parts: Collection[str] = sorted(f"{count} {reason}" for reason, count in reasons.items() if reason)
    listed = f" {', '.join(parts)}." if parts else ""
    return f"0/{nodes} nodes are available:{listed}"
