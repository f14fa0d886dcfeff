"""Joint losses: what a request of several slices costs on each node of a fleet, kept as the nodes change.

A node's least loss is the least sum over all ways to share the request out among its GPUs (`splits`), surplus slices
included, computed for all nodes at once. What was computed for a node holds until it changes, so that a filter call
between two bindings costs one node, not thousands. Owned by fleet, one per request that was asked for lately.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator.mig.geometry import Geometry
from allocator.placement import splits
from allocator.placement.policy import Policy
from allocator.placement.splits import Distribution, Losses, Share
from allocator.request import Mix

Rows = npt.NDArray[np.intp]
States = npt.NDArray[np.int32]  # nodes × GPUs: the fleet's numbers of GPU states
Versions = npt.NDArray[np.int64]

_PER_CELL = 4  # sums that cost about as much as to tabulate one loss

TOO_COMPLEX = -math.inf  # the loss of a node whose answer was refused


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may cost, and where the cheaper way to compute it begins."""

    additions: int = 30_000_000  # about 0.05 s; nodes beyond are refused now and go on at the next question
    portions: int = 4  # of so many additions, as long as no node fits
    alike: int = 8_000_000  # sums from which it pays to look for nodes that are alike
    sums: int = 2**16  # held at a time: they stay in the processor's cache
    cells: int = splits.MAX_CELLS  # of the table of one GPU model


DEFAULT_LIMITS = Limits()


class JointLosses:
    """The least losses of one request under one policy, by row."""

    def __init__(self, by: Policy, mix: Mix, limits: Limits = DEFAULT_LIMITS) -> None:
        self._policy = by
        self._mix = mix
        self._limits = limits
        self._known: Losses = np.empty(0)
        self._as_of: Versions = np.empty(0, dtype=np.int64)
        self.forget_tables()
        self.work = 0  # sums so far
        self.complete = False  # whether all that was asked for last was answered

    def of(self, rows: Rows, states: States, versions: Versions, offsets: Mapping[Geometry, int]) -> Losses:
        """The least loss per row of `rows`: inf where the request does not fit, TOO_COMPLEX where that is not known.

        `states` and `versions` have all rows of the fleet; a row's version, at least 1, changes with its states.
        `offsets` is the number of each geometry's state 0; number 0 stands for no GPU.
        """
        if len(versions) > len(self._known):
            new = len(versions) - len(self._known)
            self._known = np.append(self._known, np.full(new, np.inf))
            self._as_of = np.append(self._as_of, np.zeros(new, dtype=np.int64))
        stale = rows[self._as_of[rows] != versions[rows]]
        self.complete = True
        if len(stale):
            if offsets != self._tabulated:
                self._tabulate(offsets)
            self._known[stale], answered = self._answers(states[stale])
            self._as_of[stale] = np.where(answered, versions[stale], 0)
            self.complete = bool(answered.all())
        return self._known[rows]

    def forget_tables(self) -> None:
        """Forget the tables of the GPU models; the losses of rows that do not change stay known."""
        self._tabulated: Mapping[Geometry, int] | None = None  # the offsets that the tables are for
        self._beyond = np.empty(0, dtype=np.bool_)
        self._losses = self._most = np.empty((0, 0))

    @property
    def table_bytes(self) -> int:
        """What the tables take."""
        return self._losses.nbytes + self._most.nbytes + self._beyond.nbytes

    def _tabulate(self, offsets: Mapping[Geometry, int]) -> None:
        """Collect the tables of all GPU models, by the fleet's numbers of their states."""
        tables: dict[Geometry, Mapping[Share, Losses]] = {}
        size = 1 + sum(geometry.states for geometry in offsets)
        self._beyond = np.zeros(size, dtype=np.bool_)  # states of GPUs that have no table
        for geometry, offset in offsets.items():
            try:
                tables[geometry] = splits.mixed_losses(self._policy, geometry, self._mix, self._limits.cells)
            except splits.TooComplexError:
                self._beyond[offset : offset + geometry.states] = True
        nothing = (0,) * len(self._mix.counts)
        cut = tuple(dict.fromkeys([nothing, *(share for table in tables.values() for share in table)]))
        self._losses = np.full((len(cut), size), np.inf)
        self._losses[0] = 0.0  # nothing, which costs nothing on no GPU either
        for geometry, offset in offsets.items():
            for index, share in enumerate(cut):
                if share in tables.get(geometry, ()):
                    self._losses[index, offset : offset + geometry.states] = tables[geometry][share]
        self._distribution = Distribution(self._mix.counts, cut)
        self._measure(np.array(cut), offsets)
        self._tabulated = dict(offsets)
        self.work += _PER_CELL * self._losses.size

    def _measure(self, cut: npt.NDArray[np.int64], offsets: Mapping[Geometry, int]) -> None:
        """Note the most that a GPU takes in each state, and what the request needs: of each profile, and of memory."""
        sizes = {p.name: p.memory_slices for geometry in offsets for p in geometry.catalogue.profiles}
        counts = self._mix.counts
        of_each = [[name == profile for name, _ in counts] for profile, _ in self._mix.total]
        measures = np.array([*of_each, [sizes.get(name, 1) for name, _ in counts]], dtype=np.int64)
        self._needs = measures @ np.array([n for _, n in counts], dtype=np.int64)
        weights = cut @ measures.T
        fits = np.isfinite(self._losses)
        self._most = np.array([np.where(fits, weight[:, None], 0).max(axis=0) for weight in weights.T])

    def _answers(self, states: States) -> tuple[Losses, npt.NDArray[np.bool_]]:
        """The least loss of each of these nodes, and whether it was computed; too many take several questions."""
        losses = np.full(len(states), np.inf)
        answered = np.ones(len(states), dtype=np.bool_)
        beyond = self._beyond[states].any(axis=1)
        losses[beyond] = TOO_COMPLEX
        candidates = np.flatnonzero(~beyond & self._could_fit(states))
        if splits.number(self._mix.counts) > splits.MAX_SHARES:
            losses[candidates] = TOO_COMPLEX
            return losses, answered
        cost = self._distribution.additions * states.shape[1]
        if cost * len(candidates) > self._limits.alike:
            alike, where = np.unique(np.sort(states[candidates], axis=1), axis=0, return_inverse=True)
        else:
            alike, where = states[candidates], np.arange(len(candidates))
        least = self._least_in_portions(alike, max(1, self._limits.additions // cost))
        losses[candidates] = np.append(least, np.full(len(alike) - len(least), TOO_COMPLEX))[where.ravel()]
        answered[candidates] = where.ravel() < len(least)
        return losses, answered

    def _least_in_portions(self, states: States, portion: int) -> Losses:
        """The least loss of the first nodes: a portion, and more of them until one fits."""
        losses = np.empty(0)
        for first in range(0, min(len(states), portion * self._limits.portions), portion):
            part = states[first : first + portion]
            losses = np.append(losses, self._least(part))
            self.work += len(part) * self._distribution.additions * states.shape[1]
            if np.isfinite(losses).any():
                break
        return losses

    def _could_fit(self, states: States) -> npt.NDArray[np.bool_]:
        """Whether no sum over a node's GPUs rules the request out: what must hold if it fits."""
        possible = np.ones(len(states), dtype=np.bool_)
        for most, needed in zip(self._most, self._needs, strict=True):
            possible &= most[states].sum(axis=1) >= needed
        return possible

    def _least(self, states: States) -> Losses:
        """The least loss of each of these nodes."""
        gpus = [column for column in states.T if column.any()]
        gpus += [np.zeros(len(states), dtype=np.int32)] * (2 - len(gpus))
        at_once = max(1, self._limits.sums // splits.number(self._mix.counts))
        totals = [np.empty(0)]
        for first in range(0, len(states), at_once):
            losses = [np.take(self._losses, gpu[first : first + at_once], axis=1) for gpu in gpus]
            sums = self._distribution.first(losses[0])
            for more in losses[1:-1]:
                sums = self._distribution.add(sums, more)
            totals.append(self._distribution.whole(sums, losses[-1]))
        return np.concatenate(totals)
