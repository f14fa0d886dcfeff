"""Splits: how a request of several slices is shared out among GPUs.

A share is what one GPU takes of a request: a number of slices per profile, and per container where these must be told
apart. `losses` and `mixed_losses` table, for each share and each state of a GPU, what the share costs there at best;
`Distribution` adds such tables up over the GPUs of many nodes at once, so that a node's answer is the least sum over
all ways to share the request out. Called by fitting for one node and by joint_losses for a fleet.

What a policy says of a slice is between -1 and 1; a surplus slice, a container's second on one GPU, costs SURPLUS more.
That is more than all other slices of a request together can save, so that the fewest surplus slices come first, and
then the policy's losses.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from allocator import errors
from allocator.mig.geometry import Geometry
from allocator.placement import policy
from allocator.placement.policy import Policy
from allocator.request import Counts, Mix

Share = tuple[int, ...]  # slices per profile, in the order of the counts
Losses = npt.NDArray[np.float64]

MAX_SHARES = 16_384  # of a request: 14 different profiles, or 10 slices each of 4, are still answered
MAX_CELLS = 131_072  # shares × states of one GPU model, 1 MiB; an A100 takes 48,640 at most
_MOST_LOSSES, _MOST_POLICIES, _MOST_ORDERS = 16, 4, 256  # kept with each geometry

SURPLUS = 512.0  # above any difference of losses of MAX_SLICES_PER_POD slices
_GRID = 2.0**36  # losses are multiples of 1/_GRID here: sums of them are exact, so equal is equal in whatever order


class TooComplexError(errors.MigschedError):
    """A request mixes so many slices that an exact answer would cost too much; it is refused, not guessed."""


def check(counts: Counts) -> None:
    """Raise TooComplexError for a request that can be cut into more than MAX_SHARES different shares."""
    if number(counts) > MAX_SHARES:
        raise TooComplexError(f"{number(counts)} different shares of the request; at most {MAX_SHARES} are weighed")


def number(counts: Counts) -> int:
    """How many different shares a request has: the product of each profile's number of slices plus one."""
    return math.prod(n + 1 for _, n in counts)


def losses(by: Policy, geometry: Geometry, counts: Counts, max_cells: int = MAX_CELLS) -> Mapping[Share, Losses]:
    """The shares that fit a GPU when it is empty, each with its least loss per state, inf where it does not fit.

    The loss of a share is the sum over its slices, cut from large to small (by memory, then compute, then name), each
    at the policy's loss in the state that it finds: the least over all legal placements. The empty share costs nothing.
    Raises TooComplexError for a GPU with far more states than any real one: more than `max_cells` losses to tabulate.
    """
    table = geometry.keep(_losses, by, counts, max_cells, most=_MOST_LOSSES)
    if table is None:
        raise TooComplexError(f"{geometry.catalogue.model}: more than {max_cells} answers to tabulate")
    return table


def _losses(geometry: Geometry, by: Policy, counts: Counts, max_cells: int) -> Mapping[Share, Losses] | None:
    steps = geometry.keep(_rounded, by, most=_MOST_POLICIES)
    order = large_first(geometry, counts)
    nothing = (0,) * len(counts)
    table = {nothing: np.zeros(geometry.states)}
    waiting = [(nothing, len(order) - 1)]  # each share with the place in the order of its largest slice
    for share, largest in waiting:  # grows while we walk it; adding only what is as large reaches each share once
        for place in range(largest + 1):
            position = order[place]
            name, most = counts[position]
            if share[position] == most:
                continue
            columns = np.array(geometry.placements_of(name))
            least = (steps[:, columns] + table[share][geometry.step[:, columns]]).min(axis=1)
            if np.isinf(least[Geometry.EMPTY]):
                continue
            larger = (*share[:position], share[position] + 1, *share[position + 1 :])
            table[larger] = least
            waiting.append((larger, place))
            if len(table) * geometry.states > max_cells:
                return None
    return table


def mixed_losses(by: Policy, geometry: Geometry, mix: Mix, max_cells: int = MAX_CELLS) -> Mapping[Share, Losses]:
    """As `losses`, of a mix: its shares have a number for each of its counts, and each surplus slice costs SURPLUS.

    Raises as `losses`.
    """
    if mix.packed:
        return losses(by, geometry, mix.counts, max_cells)
    return geometry.keep(_mixed_losses, by, mix, max_cells, most=_MOST_LOSSES)


def _mixed_losses(geometry: Geometry, by: Policy, mix: Mix, max_cells: int) -> Mapping[Share, Losses]:
    of_totals = losses(by, geometry, mix.total, max_cells)
    shares = itertools.product(*(range(n + 1) for _, n in mix.counts)) if mix.total is not mix.counts else of_totals
    table = {}
    for share in shares:
        least = of_totals.get(mix.totals(share))
        if least is not None:
            surplus = mix.surplus(share)
            table[share] = least + surplus * SURPLUS if surplus else least
    return table


def step_losses(by: Policy, geometry: Geometry, state: int) -> Losses:
    """What each placement costs in a state, as `losses` counts it; inf where illegal."""
    steps: Losses = geometry.keep(_rounded, by, most=_MOST_POLICIES)[state]
    return steps


def _rounded(geometry: Geometry, by: Policy) -> Losses:
    steps: Losses = np.round(policy.tables(by, geometry).step_loss * _GRID) / _GRID
    return steps


def large_first(geometry: Geometry, counts: Counts) -> tuple[int, ...]:
    """Positions in the counts of the profiles that a GPU offers, in the order in which slices are cut."""
    return geometry.keep(_large_first, counts, most=_MOST_ORDERS)


def _large_first(geometry: Geometry, counts: Counts) -> tuple[int, ...]:
    sizes = {p.name: (-p.memory_slices, -p.compute_slices, p.name) for p in geometry.catalogue.profiles}
    offered = [position for position, (name, _) in enumerate(counts) if name in sizes]
    return tuple(sorted(offered, key=lambda position: sizes[counts[position][0]]))


class Distribution:
    """Least sums over the ways to split a request among GPUs, for many nodes at once.

    An array of sums has an axis per profile, for what the GPUs so far take of it (0…n), and a last one for the nodes.
    Losses of one GPU per node are an array shares × nodes. `additions` is how many sums one more GPU costs per node.
    """

    def __init__(self, counts: Counts, shares: Sequence[Share]) -> None:
        self._shares = tuple(shares)
        self._shape = tuple(n + 1 for _, n in counts)
        self._without = [tuple(slice(0, n - p) for n, p in zip(self._shape, share, strict=True)) for share in shares]
        self._with = [tuple(slice(p, n) for n, p in zip(self._shape, share, strict=True)) for share in shares]
        self._rest = [tuple(n - p for (_, n), p in zip(counts, share, strict=True)) for share in shares]
        self.additions = sum(math.prod(n - p for n, p in zip(self._shape, share, strict=True)) for share in shares)

    def first(self, losses: Losses) -> Losses:
        """The sums of one GPU."""
        sums = np.full((*self._shape, losses.shape[1]), np.inf)
        for share, loss in zip(self._shares, losses, strict=True):
            sums[share] = loss
        return sums

    def add(self, sums: Losses, losses: Losses) -> Losses:
        """The sums with one more GPU."""
        more = np.full_like(sums, np.inf)
        through = np.empty_like(sums)
        for index in np.flatnonzero(np.isfinite(losses).any(axis=1)):
            taken, target = through[self._without[index]], more[self._with[index]]
            np.add(sums[self._without[index]], losses[index], out=taken)
            np.minimum(target, taken, out=target)
        return more

    def whole(self, sums: Losses, losses: Losses) -> Losses:
        """The least loss of the whole request, with one last GPU: one number per node."""
        least = np.full(losses.shape[1], np.inf)
        for rest, loss in zip(self._rest, losses, strict=True):
            np.minimum(least, sums[rest] + loss, out=least)
        return least
