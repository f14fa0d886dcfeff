"""Exact joint placement of several slices on the GPUs of one node.

One slice is a table look-up; several are a small packing question over the node's GPUs, answered exactly: `fits`
says whether all slices of a request fit together, `place` chooses where: slices of one container on different
GPUs first, and then at the least loss by the policy. Called by inventory (where at bind), the extender, the planners
and the agent; fleet answers what `cost` says of these places for all nodes at once.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice

import numpy as np

from allocator.mig.geometry import Geometry
from allocator.mig.profile import Placement
from allocator.placement import policy, splits
from allocator.placement.kept import kept
from allocator.placement.policy import Policy
from allocator.placement.splits import SURPLUS, Losses, Share
from allocator.request import Counts, Mix, Request

GpuState = tuple[Geometry, int]
_MOST_SHARES = 128  # answers about one GPU, kept with each geometry

TooComplexError = splits.TooComplexError  # what every question here raises rather than guess


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one slice goes: index of the GPU among those given, placement, and what it costs by the policy."""

    gpu: int
    placement: Placement
    loss: float


def fits(gpus: Sequence[GpuState], counts: Mapping[str, int]) -> bool:
    """Whether slices of these profiles fit on these GPUs together. Raises TooComplexError rather than guess."""
    requested = tuple(sorted((name, n) for name, n in counts.items() if n > 0))
    if not requested:
        return True
    return _fits(tuple(sorted(gpus, key=lambda gs: (id(gs[0]), gs[1]))), requested)


@kept(maxsize=4_096)
def _fits(gpus: tuple[GpuState, ...], counts: Counts) -> bool:
    if any(sum(g.room_for(s, name) for g, s in gpus) < n for name, n in counts):
        return False
    if len(counts) == 1:
        return True
    if sum(g.free_slices(s) for g, s in gpus) < sum(n * _size(gpus, name) for name, n in counts):
        return False
    splits.check(counts)
    held = 1  # bit i: the GPUs so far can take the share with number i
    for geometry, state in gpus:
        shares = geometry.keep(_shares_in, state, counts, most=_MOST_SHARES)
        held = reduce(operator.or_, ((held & bits) << number for number, bits in shares))
    return held >> (splits.number(counts) - 1) != 0


def _shares_in(geometry: Geometry, state: int, counts: Counts) -> tuple[tuple[int, int], ...]:
    """The shares that fit a state, each as its number and the numbers, as bits, of the shares it can be added to."""
    table = splits.losses(policy.DEFAULT, geometry, counts)  # whatever the policy: what is legal costs less than inf
    return tuple(_numbered(share, counts) for share, losses in table.items() if np.isfinite(losses[state]))


@kept(maxsize=4_096)
def _numbered(share: Share, counts: Counts) -> tuple[int, int]:
    """Shares are numbered like digits; bits has a one for every share whose sum with this one the request contains."""
    number, bits, unit = 0, 1, 1
    for taken, (_, n) in zip(share, counts, strict=True):
        number += taken * unit
        bits = sum(bits << more * unit for more in range(n - taken + 1))
        unit *= n + 1
    return number, bits


def place(
    gpus: Sequence[GpuState], request: Request, by: Policy, beside: frozenset[int] = frozenset()
) -> tuple[Placed, ...] | None:
    """A place for each slice of a request, in its order; None if they do not fit together.

    They have the fewest surplus slices (a container's second, third… on one GPU) and then the least sum of losses that
    there is, over all legal placements of all of them, where each GPU's slices are cut from large to small and each
    costs the policy's loss in the state that it finds (`splits.losses`). Of equals that one is chosen whose first GPUs
    take most, large slices before small. Of a packed request only the losses count. `beside` are GPUs where the
    request's one container has slices already. Raises TooComplexError rather than guess.
    """
    if len(request.slots) == 1 and not beside:
        return _place_one(gpus, request.slots[0].profile, by)
    if not request:
        return ()
    placed = _place(tuple(gpus), request.mix, by, beside)
    if placed is None:
        return None
    following = [iter(places) for places in placed]
    return tuple(next(following[position]) for position in request.positions)


def cost(request: Request, placed: Sequence[Placed]) -> float:
    """What a request costs where it was placed: the policy's losses, and SURPLUS for each surplus slice."""
    loss = sum(slice_.loss for slice_ in placed)
    if request.mix.packed:
        return loss
    containers = [request.mix.containers[position] for position in request.positions]
    used = {(slice_.gpu, container) for slice_, container in zip(placed, containers, strict=True) if container >= 0}
    return loss + SURPLUS * (sum(container >= 0 for container in containers) - len(used))


@kept(maxsize=2048)
def placed_on(gpus: tuple[GpuState, ...], request: Request, by: Policy) -> tuple[GpuState, ...] | None:
    """A node's GPUs with a request placed there; None if it does not fit.

    Raises TooComplexError rather than guess. Kept, since pods that are on their way or nominated are placed again for
    every request that comes before they are bound.
    """
    placed = place(gpus, request, by)
    if placed is None:
        return None
    after = list(gpus)
    for slice_ in placed:
        geometry, state = after[slice_.gpu]
        after[slice_.gpu] = (geometry, int(geometry.step[state, geometry.placement_index[slice_.placement]]))
    return tuple(after)


@kept(maxsize=1_024)
def _place(
    gpus: tuple[GpuState, ...], mix: Mix, by: Policy, beside: frozenset[int]
) -> tuple[tuple[Placed, ...], ...] | None:
    """The places for each of the mix's counts."""
    if not fits(gpus, dict(mix.total)):
        return None
    splits.check(mix.total)
    placed: list[list[Placed]] = [[] for _ in mix.counts]
    for index, share in enumerate(_split(gpus, mix, by, beside)):
        cut: dict[str, list[Placed]] = {name: [] for name, _ in mix.total}
        for slice_ in _cut(index, gpus[index], mix.totals(share), mix.total, by):
            cut[slice_.placement.profile].append(slice_)
        following = {name: iter(places) for name, places in cut.items()}
        for places, (name, _), number in zip(placed, mix.counts, share, strict=True):
            places += islice(following[name], number)
    return tuple(map(tuple, placed))


def _split(gpus: Sequence[GpuState], mix: Mix, by: Policy, beside: frozenset[int]) -> list[Share]:
    """The share of each GPU, where the request fits and the sum of the losses is least."""
    tables = [splits.mixed_losses(by, geometry, mix) for geometry, _ in gpus]
    cut = tuple(dict.fromkeys(share for table in tables for share in table))
    distribution = splits.Distribution(mix.counts, cut)
    losses = [
        {share: least_losses.item(state) for share, least_losses in table.items()}
        for table, (_, state) in zip(tables, gpus, strict=True)
    ]
    for index in beside:
        losses[index] = {share: loss + SURPLUS * any(share) for share, loss in losses[index].items()}
    onward: list[Losses] = []  # the sums of the GPUs from the last one to each, the first left out
    for share_losses in reversed(losses[1:]):
        column = np.array([[share_losses.get(share, np.inf)] for share in cut])
        onward.append(distribution.add(onward[-1], column) if onward else distribution.first(column))
    remaining = tuple(n for _, n in mix.counts)
    chosen = []
    for (geometry, _), share_losses, following in zip(gpus[:-1], losses[:-1], reversed(onward), strict=True):
        least, best = np.inf, remaining
        for share in sorted(share_losses, key=_takes_most(geometry, mix), reverse=True):
            rest = tuple(map(int.__sub__, remaining, share))
            if min(rest) >= 0 and share_losses[share] + following[rest].item() < least:
                least, best = share_losses[share] + following[rest].item(), share
        chosen.append(best)
        remaining = tuple(map(int.__sub__, remaining, best))
    return [*chosen, remaining]


def _takes_most(geometry: Geometry, mix: Mix) -> Callable[[Share], tuple[Share, Share]]:
    """Sorts the shares that take more large slices last, whosever they are."""
    order = splits.large_first(geometry, mix.total)

    def key(share: Share) -> tuple[Share, Share]:
        totals = mix.totals(share)
        return tuple(totals[position] for position in order), share

    return key


def _cut(index: int, gpu: GpuState, share: Share, counts: Counts, by: Policy) -> Iterator[Placed]:
    """The placements of one GPU's share that cost least, from large to small."""
    geometry, state = gpu
    losses = splits.losses(by, geometry, counts)
    for position in splits.large_first(geometry, counts):
        for _ in range(share[position]):
            rest = (*share[:position], share[position] - 1, *share[position + 1 :])
            steps = splits.step_losses(by, geometry, state)
            columns = geometry.placements_of(counts[position][0])
            best = min(columns, key=lambda i: steps[i] + losses[rest][geometry.step[state, i]])
            yield Placed(index, geometry.placements[best], steps.item(best))
            state, share = int(geometry.step[state, best]), rest


def _place_one(gpus: Sequence[GpuState], name: str, by: Policy) -> tuple[Placed, ...] | None:
    """The best place for one slice: a look-up per GPU."""
    least, best = float("inf"), -1
    previous: Geometry | None = None
    for index, (geometry, state) in enumerate(gpus):
        if geometry is not previous:  # mostly a node's GPUs are all of one kind
            previous, profile = geometry, geometry.profile_index.get(name)
            tables = policy.tables(by, geometry)
            losses = tables.loss
        if profile is not None:
            loss = losses.item(state, profile)
            if loss < least:
                least, best, choices = loss, index, tables.choice
    if best < 0:
        return None
    geometry, state = gpus[best]
    choice = choices.item(state, geometry.profile_index[name])
    return (Placed(best, geometry.placements[choice], least),)


def _size(gpus: Sequence[GpuState], name: str) -> int:
    """Memory slices of a profile, on the GPU where it takes least: a name may be 1 slice of one model, 2 of another."""
    return min(g.catalogue.by_name[name].memory_slices for g, _ in gpus if name in g.catalogue.by_name)
