"""The shortlist: the nodes that pack a request best, best first, beside the pods that are on their way to a node.

Asked by the extender: `shortlist` by filter, which wants a few nodes of a whole fleet, and `rank` by prioritize, which
scores the few that kube-scheduler kept. `Fleet.cheapest` is the fast path of the usual case; everything else goes by
`Fleet.losses`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from allocator.placement import fitting
from allocator.placement.fleet import EQUAL, Fleet, Losses, Rows
from allocator.placement.splits import SURPLUS
from allocator.request import Request

Incoming = Mapping[str, Sequence[Request]]  # by node, what each pod asks for that is on its way there

_NONE: Incoming = {}
_LAST = 1e6  # loss of a node where not all of them fit: after all others, before none


class RankedNode(NamedTuple):
    """A node where a request fits, and what it costs there."""

    loss: float
    node: str


class Shortlist(NamedTuple):
    """The nodes to go on with, best first; none if the request fits nowhere.

    `unique` says that it is certain where the pod goes: the first node is better than every other. `too_complex` are
    the nodes for which the answer would cost too much, named where nothing fits.
    """

    nodes: Sequence[str]
    unique: bool = False
    too_complex: frozenset[str] = frozenset()


def shortlist(
    fleet: Fleet, request: Request, nodes: Sequence[str], count: int, *, slack: float = 0.0, incoming: Incoming = _NONE
) -> Shortlist:
    """The best of these nodes for a request: at most `count`, and none that costs over `slack` more than the best one.

    A node with incoming pods is judged as if they all lay there.
    """
    if not slack and not incoming:
        cheapest = fleet.cheapest(request, nodes, count)
        if cheapest:
            return Shortlist(cheapest, len(cheapest) == 1)
    losses = fleet.losses(request, fleet.rows_of(nodes))
    ranked = _ranked(fleet, request, nodes, losses, count, incoming)
    if not ranked:
        too_complex = np.flatnonzero(fleet.too_complex(losses)).tolist()
        return Shortlist((), too_complex=frozenset(nodes[position] for position in too_complex))
    limit = ranked[0].loss + slack + EQUAL
    return Shortlist([node for loss, node in ranked if loss <= limit], is_unique(ranked))


def rank(fleet: Fleet, request: Request, nodes: Sequence[str], *, incoming: Incoming = _NONE) -> Sequence[RankedNode]:
    """All of these nodes where a request fits, best first; one with incoming pods as if they all lay there."""
    return _ranked(fleet, request, nodes, fleet.losses(request, fleet.rows_of(nodes)), len(nodes), incoming)


def is_unique(ranked: Sequence[RankedNode]) -> bool:
    """Whether the first of these nodes is better than every other: between equals kube-scheduler chooses."""
    return len(ranked) == 1 or (len(ranked) > 1 and ranked[1].loss > ranked[0].loss + EQUAL)


def _ranked(
    fleet: Fleet, request: Request, nodes: Sequence[str], losses: Losses, count: int, incoming: Incoming
) -> Sequence[RankedNode]:
    """The `count` best nodes. To judge nodes beside incoming pods costs time, so only those are judged that come first
    without them: twice as many as are wanted, and more while all of these turn out to be taken.
    """
    if not incoming:
        return _nodes(losses, nodes, count)
    looked_at = count + min(count, len(incoming))
    while True:
        ranked = _nodes(losses, nodes, looked_at)
        for place, (alone, node) in enumerate(ranked):
            if node in incoming:
                ranked[place] = RankedNode(_loss_beside(fleet, request, node, incoming[node], alone), node)
        ranked.sort(key=lambda best: best.loss)
        if not ranked or ranked[0].loss < _LAST or len(ranked) < looked_at:
            return ranked[:count]
        looked_at *= 2


def _nodes(losses: Losses, nodes: Sequence[str], count: int) -> list[RankedNode]:
    best = _best(losses, count)
    return [RankedNode(loss, nodes[at]) for loss, at in zip(losses[best].tolist(), best.tolist(), strict=True)]


def _loss_beside(fleet: Fleet, request: Request, node: str, incoming: Sequence[Request], alone: float) -> float:
    """What a request would cost on a node once the incoming pods are placed there, in their order.

    `alone` is what it costs without them. A node's turn, by which some policies go, is the same with them.
    """
    gpus = fleet.gpus(node)
    try:
        for other in incoming:
            after = fitting.placed_on(gpus, other, fleet.policy)
            if after is None:
                return _LAST
            gpus = after
        placed = fitting.place(gpus, request, fleet.policy)
    except fitting.TooComplexError:
        return _LAST
    if placed is None:
        return _LAST
    beside = fitting.cost(request, placed)
    return math.fmod(alone, SURPLUS) + round(beside / SURPLUS) * SURPLUS if fleet.by_turn else beside


def _best(losses: Losses, count: int) -> Rows:
    """Positions of the `count` least finite losses, least first; ties in the order given."""
    finite = np.flatnonzero(np.isfinite(losses))
    if len(finite) > count:
        worst = np.partition(losses[finite], count - 1)[count - 1]
        finite = finite[losses[finite] <= worst]
    order: Rows = finite[np.argsort(losses[finite], kind="stable")][:count]
    return order
