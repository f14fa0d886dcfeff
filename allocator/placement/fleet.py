"""Fleet: the GPU states of all nodes in one array, and the vectorised answer to "where does this fit, and how well?".

A row per node, a column per GPU, a number per GPU state; all geometries share one numbering, so a policy's losses
are one array per profile and a filter call over thousands of nodes is one gather. Owned by `inventory`, which
writes rows; read by the extender and the capacity tools.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice, repeat
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from allocator.mig.geometry import Geometry
from allocator.placement import joint_losses, kept, policy, room
from allocator.placement.fitting import GpuState
from allocator.placement.joint_losses import JointLosses
from allocator.placement.policy import Order, Policy
from allocator.placement.splits import SURPLUS
from allocator.placement.state_numbers import NO_GPU, StateNumbers
from allocator.request import Mix, Request

Rows = npt.NDArray[np.intp]
Losses = npt.NDArray[np.float64]

EQUAL = 1e-9  # losses no further apart are equal: sums of the same numbers in another order
_KIND = itemgetter(0)  # of a GPU's state
LOOKED_AT = 64  # nodes, before all of them are looked at together
_MIN_JOINT = 64  # requests of several slices whose losses are kept, the latest; more while they take
_ANSWER_BYTES = 32 * 2**20  # for the losses of rows, 16 bytes each, and
_TABLE_BYTES = 32 * 2**20  # for the tables to compute them


class Fleet:
    """All nodes' GPU states under one policy. Rows of forgotten nodes are reused."""

    def __init__(self, by: Policy) -> None:
        self.policy = by
        self.rows: dict[str, int] = {}
        self._names: list[str | None] = []
        self._free_rows: list[int] = []
        self._gpus: list[tuple[GpuState, ...]] = []
        self._states = np.zeros((64, 8), dtype=np.int32)
        self._numbers = StateNumbers()
        self._next = 0  # the row after the one that was chosen last, for policies that go round
        self._loss_of: dict[str, Losses] = {}  # profile → loss per global state
        self._best: dict[str, Losses] = {}  # profile → best loss per row, kept current by put and drop
        self._joint: dict[Mix, JointLosses] = {}  # of requests of several slices, the latest last
        self._versions = np.zeros(64, dtype=np.int64)  # per row, the number of the change that made it what it is
        self._changes = 0
        self.members = 0  # one more each time a node comes or goes
        self.joint_work = 0  # sums of joint losses so far: what requests of several slices have cost

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, node: str) -> bool:
        return node in self.rows

    @property
    def geometries(self) -> tuple[Geometry, ...]:
        """The kinds of GPU that there are."""
        return tuple(self._numbers.offsets)

    @property
    def by_turn(self) -> bool:
        """Whether the policy does not go by loss: the loss of a node is how late its turn is."""
        return self.policy.order in (Order.FIRST, Order.CYCLIC)

    def use(self, by: Policy) -> None:
        """Score by another policy from now on.

        What is kept for single profiles is worked out again here, so that the next call finds it; requests of several
        slices are when they next come.
        """
        self.policy = by
        self._joint.clear()
        for profile in self._best:
            self._loss_of[profile] = self._losses_by_state(profile)
            self._best[profile] = self._loss_of[profile][self._states].min(axis=1)

    def name(self, row: int) -> str:
        """The node of a row. Raises KeyError for a row in no use."""
        name = self._names[row]
        if name is None:
            raise KeyError(row)
        return name

    def gpus(self, node: str) -> tuple[GpuState, ...]:
        """The GPU states of a node as last put. Raises KeyError for an unknown node."""
        return self._gpus[self.rows[node]]

    def put(self, node: str, gpus: Sequence[GpuState]) -> None:
        """Set a node's GPUs; only those that may take new slices."""
        row = self.rows.get(node)
        if row is None:
            row = self._new_row(node)
        elif self._gpus[row] == tuple(gpus):
            return
        kinds, kinds_before = tuple(map(_KIND, gpus)), tuple(map(_KIND, self._gpus[row]))
        if kinds != kinds_before and self._numbers.add(set(kinds) - set(kinds_before)):
            self._loss_of = {profile: self._losses_by_state(profile) for profile in self._loss_of}
        self._gpus[row] = tuple(gpus)
        self._changed(row)
        offsets = self._numbers.offsets
        numbers = [offsets[g] + s for g, s in gpus]
        if len(numbers) > self._states.shape[1]:
            wider = np.zeros((self._states.shape[0], len(numbers)), dtype=np.int32)
            wider[:, : self._states.shape[1]] = self._states
            self._states = wider
        for column, number in enumerate(numbers):  # see `cheapest` for why not at once
            self._states[row, column] = number
        self._states[row, len(numbers) :] = NO_GPU
        for profile, best in self._best.items():
            best[row] = min(map(self._loss_of[profile].item, numbers), default=np.inf)
        if kinds != kinds_before:
            self._removed(set(kinds_before) - set(kinds))

    def drop(self, node: str) -> None:
        """Forget a node; unknown ones are no error."""
        row = self.rows.pop(node, None)
        if row is None:
            return
        self.members += 1
        self._names[row] = None
        geometries = set(map(_KIND, self._gpus[row]))
        self._gpus[row] = ()
        self._changed(row)
        self._states[row] = NO_GPU
        self._free_rows.append(row)
        for best in self._best.values():
            best[row] = np.inf
        self._removed(geometries)

    def rows_of(self, nodes: Sequence[str]) -> Rows:
        """Row per node name, -1 for unknown ones."""
        return np.fromiter(map(self.rows.get, nodes, repeat(-1)), dtype=np.intp, count=len(nodes))

    def losses(self, request: Request, rows: Rows) -> Losses:
        """The policy's loss of the request's best placement per row; inf where it does not fit, or the row is -1.

        A row whose joint answer would cost too much is -inf; see `too_complex`. Where the policy does not go by loss
        at all, the loss of a row is how late its turn is, in [0, 1). Each surplus slice of a container costs SURPLUS
        more.
        """
        counts = request.counts
        losses: Losses
        single = counts[0][0] if len(counts) == 1 and counts[0][1] == 1 else ""
        known = single in self._best if single else request.mix in self._joint
        if not known and not all(self._numbers.offers(profile) for profile, _ in counts):
            losses = np.full(len(rows), np.inf)  # not kept: pods may ask for ever other profiles
        elif single:
            losses = np.append(self._best_of(single), np.inf)[rows]
        else:
            losses = self._joint_losses(request.mix, rows)
        if self.by_turn:
            first = self._next if self.policy.order is Order.CYCLIC else 0
            size = max(1, len(self._names))
            turns = (rows - first) % size / size
            surplus = 0.0 if single else np.round(losses / SURPLUS) * SURPLUS
            losses = np.where(np.isfinite(losses), turns + surplus, losses)
        return losses

    def cheapest(self, request: Request, nodes: Sequence[str], count: int, looked_at: int = LOOKED_AT) -> Sequence[str]:
        """Fast path for single-slice requests: the first `count` of these nodes of least loss, or nothing when only
        `losses` can tell. Asked by `shortlist`.

        It can tell where one node of the whole fleet is best, and is among these, or where enough of the first few are
        as good as any. Beside a busy kube-scheduler each call finds its code and data gone from the processor's caches,
        so numpy's general machinery would cost twenty times what it does alone: here are only plain loops and numpy's
        smallest calls.
        """
        counts = request.counts
        if len(counts) != 1 or counts[0][1] != 1 or self.by_turn:
            return ()
        profile = counts[0][0]
        if profile not in self._best and not self._numbers.offers(profile):
            return ()
        best = self._best_of(profile)
        row = int(best.argmin())
        least = best.item(row)
        if least == np.inf:
            return ()
        best[row] = np.inf
        next_best = best.item(best.argmin())
        best[row] = least
        if next_best > least + EQUAL:
            name = self._names[row]
            return (name,) if name is not None and name in nodes else ()
        cheapest = []
        for name in islice(nodes, looked_at):
            row = self.rows.get(name, -1)
            if row >= 0 and best.item(row) <= least + EQUAL:
                cheapest.append(name)
                if len(cheapest) == count:
                    return cheapest
        return cheapest if len(nodes) <= looked_at else ()

    def answered(self, request: Request) -> bool:
        """Whether asking for a request again costs little, as the answers are kept or are those of a single slice."""
        if len(request.slots) == 1:
            return True
        joint = self._joint.get(request.mix)
        return joint is not None and joint.complete

    def chose(self, node: str) -> None:
        """A request went to this node; unknown ones are no error."""
        self._next = self.rows.get(node, self._next - 1) + 1

    @staticmethod
    def too_complex(losses: Losses) -> npt.NDArray[np.bool_]:
        """Which answers of `losses` were refused as too costly."""
        refused: npt.NDArray[np.bool_] = losses == joint_losses.TOO_COMPLEX
        return refused

    def _joint_losses(self, mix: Mix, rows: Rows) -> Losses:
        losses = np.full(len(rows), np.inf)
        known = rows >= 0
        joint = self._joint.pop(mix, None) or JointLosses(self.policy, mix)
        before = joint.work
        losses[known] = joint.of(rows[known], self._states, self._versions, self._numbers.offsets)
        self._joint[mix] = joint
        if len(self._joint) > max(_MIN_JOINT, _ANSWER_BYTES // (16 * len(self._versions))):
            del self._joint[next(iter(self._joint))]
        if joint.work != before:
            self.joint_work += joint.work - before
            self._trim_tables()
        return losses

    def _trim_tables(self) -> None:
        """Forget the tables of the requests that were asked for longest ago."""
        held = 0
        for joint in reversed(self._joint.values()):
            held += joint.table_bytes
            if held > _TABLE_BYTES:
                joint.forget_tables()

    def have_free(self, request: Request, rows: Rows) -> npt.NDArray[np.bool_]:
        """Per row, whether its GPUs that offer a profile of the request have as many memory slices free as the request
        takes, wherever these lie; False where the row is -1. What an empty GPU could not use either does not count.
        """
        free, least = np.zeros(self._numbers.size, dtype=np.int64), np.inf
        for geometry, offset in self._numbers.offsets.items():
            offered = [(name, number) for name, number in request.counts if name in geometry.profile_index]
            if offered:
                taken = np.bitwise_count(geometry.masks)
                of_each = {name: geometry.catalogue.profile(name).memory_slices for name, _ in offered}
                empty = geometry.state_of(())
                usable = max(geometry.room_for(empty, name) * size for name, size in of_each.items())
                free[offset : offset + geometry.states] = np.maximum(usable - taken.astype(np.int64), 0)
                least = min(least, sum(of_each[name] * number for name, number in offered))
        have: npt.NDArray[np.bool_] = (rows >= 0) & (free[self._states[rows]].sum(axis=1) >= least)
        return have

    def least(self, of: Callable[[Geometry], Losses], rows: Rows) -> Losses:
        """Per row, the least of a number that `of` gives for each state of a geometry, over the node's GPUs; inf where
        there is none, or the row is -1.
        """
        table = np.full(self._numbers.size, np.inf)
        for geometry, offset in self._numbers.offsets.items():
            table[offset : offset + geometry.states] = of(geometry)
        least: Losses = np.where(rows >= 0, table[self._states[rows]].min(axis=1), np.inf)
        return least

    def free_and_stranded(
        self, demanded: Iterable[str], nodes: Iterable[str] | None = None
    ) -> Mapping[str, tuple[int, int]]:
        """By GPU model: free memory slices, and those of them that no demanded profile can use any more; of all nodes,
        or of some.

        GPUs in the same state are judged once: 80,000 GPUs cost a millisecond.
        """
        wanted = frozenset(demanded)
        by_model: dict[str, tuple[int, int]] = {}
        states = (
            self._states if nodes is None else self._states[[self.rows[node] for node in nodes if node in self.rows]]
        )
        numbers = np.bincount(states.ravel(), minlength=self._numbers.size)
        for geometry, offset in self._numbers.offsets.items():
            for state in np.flatnonzero(numbers[offset : offset + geometry.states]).tolist():
                number = int(numbers[offset + state])
                free, lost = by_model.get(geometry.catalogue.model, (0, 0))
                stranded = room.stranded_slices(geometry, state, wanted) if wanted else 0
                by_model[geometry.catalogue.model] = (
                    free + number * geometry.free_slices(state),
                    lost + number * stranded,
                )
        return by_model

    def placeable(self, closed: Collection[str] = ()) -> Mapping[tuple[str, str], int]:
        """How many more slices of each profile fit, each asked for alone, by (model, profile), `closed` nodes aside.

        GPUs in the same state are judged once, as for `free_and_stranded`. What only one of two fits counts for both.
        """
        numbers = np.bincount(self._states.ravel(), minlength=self._numbers.size)
        rows = [self.rows[node] for node in closed if node in self.rows]
        if rows:
            numbers = numbers - np.bincount(self._states[rows].ravel(), minlength=self._numbers.size)
        by_profile: dict[tuple[str, str], int] = {}
        for geometry, offset in self._numbers.offsets.items():
            fitting = numbers[offset : offset + geometry.states] @ geometry.room
            for profile, number in zip(geometry.profiles, fitting.tolist(), strict=True):
                key = (geometry.catalogue.model, profile)
                by_profile[key] = by_profile.get(key, 0) + number
        return by_profile

    def memory_slices(self) -> Mapping[str, int]:
        """All memory slices by GPU model, free or not. 80,000 GPUs cost a millisecond."""
        numbers = np.bincount(self._states.ravel(), minlength=self._numbers.size)
        by_model: dict[str, int] = {}
        for geometry, offset in self._numbers.offsets.items():
            catalogue = geometry.catalogue
            gpus = int(numbers[offset : offset + geometry.states].sum())
            by_model[catalogue.model] = by_model.get(catalogue.model, 0) + gpus * catalogue.memory_slices
        return by_model

    def _best_of(self, profile: str) -> Losses:
        if profile not in self._best:
            self._loss_of[profile] = self._losses_by_state(profile)
            self._best[profile] = self._loss_of[profile][self._states].min(axis=1)
        return self._best[profile]

    def _losses_by_state(self, profile: str) -> Losses:
        table = np.full(self._numbers.size, np.inf)
        for geometry, offset in self._numbers.offsets.items():
            index = geometry.profile_index.get(profile)
            if index is not None:
                loss = policy.tables(self.policy, geometry).loss[:, index]
                table[offset : offset + geometry.states] = loss
        return table

    def _removed(self, geometries: Iterable[Geometry]) -> None:
        """A node has these no more. What is known of those that no other node has is forgotten."""
        renumbered = self._numbers.remove(geometries)
        if renumbered is None:
            return
        self._states = renumbered[self._states]
        self._best = {profile: best for profile, best in self._best.items() if self._numbers.offers(profile)}
        self._loss_of = {profile: self._losses_by_state(profile) for profile in self._best}
        for joint in self._joint.values():
            joint.forget_tables()
        kept.forget_all()

    def _changed(self, row: int) -> None:
        self._changes += 1
        self._versions[row] = self._changes

    def _new_row(self, node: str) -> int:
        if self._free_rows:
            row = self._free_rows.pop()
            self._names[row] = node
        else:
            row = len(self._names)
            self._names.append(node)
            self._gpus.append(())
            if row == self._states.shape[0]:
                self._states = np.vstack([self._states, np.zeros_like(self._states)])
                self._versions = np.append(self._versions, np.zeros_like(self._versions))
                for profile, best in self._best.items():
                    self._best[profile] = np.append(best, np.full(len(best), np.inf))
        self.rows[node] = row
        self.members += 1
        return row
