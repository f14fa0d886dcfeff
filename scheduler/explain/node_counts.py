"""NodeCounts: the nodes of a cluster by what they say to a pod's request. Used by `explanation`.

Every node that is looked at is counted once, under one code.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from allocator.placement.misfit import Misfit, Reason
from allocator.request import Request
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cooperative import paced
from scheduler.explain.codes import ExplanationCode
from scheduler.explain.eligible import NOT_LOOKED_AT, Judge

GROUP = 200  # nodes that are judged in a fraction of a millisecond
_OF_REASON = {Reason(code.value): code for code in ExplanationCode if code.value in {reason.value for reason in Reason}}


@dataclass(slots=True)
class NodeCounts:
    """How many nodes say what, and why each that refuses does; `messages` counts these sentences, and `ineligible` why
    nodes may not run the pod. `kept_for` names the pods that room is kept for.
    """

    looked_at: int = 0
    codes: Counter[ExplanationCode] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)
    ineligible: Counter[str] = field(default_factory=Counter)
    not_looked_at: dict[str, None] = field(default_factory=dict)
    kept_for: dict[str, None] = field(default_factory=dict)

    @property
    def fitting(self) -> int:
        """Nodes that have room for the request and are not known to refuse the pod."""
        return self.codes[ExplanationCode.HAS_ROOM]

    @property
    def commonest(self) -> ExplanationCode:
        """What most nodes say that refuse."""
        refusing = [(code, number) for code, number in self.codes.most_common() if code is not ExplanationCode.HAS_ROOM]
        return refusing[0][0] if refusing else ExplanationCode.NO_NODES

    def refuse(self, node: str, message: str) -> None:
        """A node refuses, with this sentence."""
        self.refused[node] = message
        self.messages[message] += 1


def count(state: ClusterCache, request: Request, judge: Judge | None) -> NodeCounts:
    """All nodes at once: for a caller that has the event loop for itself."""
    counts = _begun(judge)
    for names in _groups(state):
        _add(counts, state, request, names, judge)
    return counts


async def count_in_steps(state: ClusterCache, request: Request, judge: Judge | None) -> NodeCounts:
    """The same with the loop given back after each group of nodes: all of 5,000 nodes at once take 20 ms."""
    counts = _begun(judge)
    async for names in paced(_groups(state)):
        _add(counts, state, request, names, judge)
    return counts


def _begun(judge: Judge | None) -> NodeCounts:
    return NodeCounts(not_looked_at=dict.fromkeys(() if judge else NOT_LOOKED_AT))


def _groups(state: ClusterCache) -> list[list[str]]:
    names = sorted(state.inventory.nodes)
    return [names[at : at + GROUP] for at in range(0, len(names), GROUP)]


def _add(counts: NodeCounts, state: ClusterCache, request: Request, names: Sequence[str], judge: Judge | None) -> None:
    counts.looked_at += len(names)
    names = _eligible(counts, names, judge)
    inventory, words = state.inventory, str(request)
    rows = inventory.fleet.rows_of(names)
    losses = inventory.fleet.losses(request, rows)
    costly = inventory.fleet.too_complex(losses)
    enough = inventory.fleet.have_free(request, rows)
    refusing = np.flatnonzero(~np.isfinite(losses)).tolist()
    counts.codes[ExplanationCode.HAS_ROOM] += len(names) - len(refusing)
    for at in refusing:
        reason = Reason.TOO_COMPLEX if costly[at] else inventory.reason(request, names[at])
        code = _OF_REASON.get(reason) or (ExplanationCode.FRAGMENTED if enough[at] else ExplanationCode.FULL)
        counts.codes[code] += 1
        counts.refuse(names[at], Misfit(reason, words).message)


def _eligible(counts: NodeCounts, names: Sequence[str], judge: Judge | None) -> Sequence[str]:
    """The nodes that may run the pod as far as that is known; the others are counted."""
    if judge is None:
        return names
    eligible = []
    for name in names:
        verdict = judge(name)
        if verdict.reason is None:
            eligible.append(name)
            counts.not_looked_at.update(dict.fromkeys(verdict.unjudged))
        else:
            counts.codes[ExplanationCode.INELIGIBLE] += 1
            counts.ineligible[verdict.reason.value] += 1
            counts.refuse(name, f"may not run the pod: {verdict.detail or verdict.reason.value}")
    return eligible
