"""GpuPool: the GPUs of a replay, and which of them a policy chooses.

All GPUs are of one geometry. GPUs that the policy cannot tell apart are kept together as the bits of one integer, so
a choice costs the same for ten GPUs and for ten thousand: the lowest bit of the best group that is not empty. Every
step is one of the automaton; an illegal one raises. Owned by `engine`.

Places may be reserved. Jobs that must leave them alone are shown, of such a GPU, the room that is legal beside both
what is there and what is to come (`allocator.queueing.draining`).
"""

from collections.abc import Collection
from dataclasses import replace

from allocator import errors
from allocator.mig.geometry import Geometry
from allocator.placement import policy, room
from allocator.placement.policy import Order, Policy
from allocator.queueing import draining
from allocator.queueing.draining import Drain

NO_GPU = -1
NOWHERE: Collection[int] = ()
_INF = float("inf")


class GpuPool:
    """What is on every GPU, and the policy's choice among them.

    A slice is a number: GPU × placements + placement index. `slices[gpu]` are the placements on a GPU as bits.
    `used_compute`, `used_memory` and `stranded_memory` are slices over all GPUs; stranded is what is free and no
    profile of the geometry can use where it lies.
    """

    def __init__(self, geometry: Geometry, gpus: int, by: Policy) -> None:
        self.geometry = geometry
        self.gpus = gpus
        self.slices = [0] * gpus
        self.used_compute = 0
        self.used_memory = 0
        self._state = [Geometry.EMPTY] * gpus
        self._shown = [Geometry.EMPTY] * gpus  # the state to those who leave reserved places alone
        self._reserved: dict[int, int] = {}  # GPU → placement that is kept for a job
        self._step: list[list[int]] = geometry.step.tolist()
        self._states: dict[int, int] = {0: Geometry.EMPTY}
        by_name = geometry.catalogue.by_name
        self._compute = [by_name[p.profile].compute_slices for p in geometry.placements]
        self._memory = [p.size for p in geometry.placements]
        wanted = frozenset(geometry.profiles)
        self._stranded = [room.stranded_slices(geometry, state, wanted) for state in range(geometry.states)]
        self.stranded_memory = gpus * self._stranded[Geometry.EMPTY]  # an empty GPU has slices that no profile covers
        self._cursor = 0
        self._costs: dict[int, list[float]] = {}
        self._ends: list[dict[int, float]] = [{} for _ in range(gpus)]
        self.use(by)

    def use(self, by: Policy) -> None:
        """Choose by this policy from now on."""
        self.policy = by
        tables = policy.tables(by, self.geometry)
        self._choice: list[list[int]] = tables.choice.T.tolist()
        self._losses: list[list[float]] = tables.loss.T.tolist()
        # What is decided by ends must be equal until then.
        apart = replace(by, order=Order.LOSS) if by.order is Order.ENDS else by
        self._group = [_groups(column) for column in policy.tables(apart, self.geometry).loss.T.tolist()]
        self._members = [[0] * (max(column) + 1) for column in self._group]
        self._occupied = [0] * len(self._group)
        for gpu, state in enumerate(self._shown):
            for profile in range(len(self._group)):
                self._enter(profile, state, 1 << gpu)

    def choose(self, profile: int, now_s: float = 0.0, end_s: float = 0.0, through: Collection[int] = NOWHERE) -> int:
        """The GPU for a slice of a profile that is expected to be used until `end_s`, or NO_GPU. On the GPUs `through`
        reserved places may be used.
        """
        chosen = self._choose(profile, now_s, end_s)
        for gpu in through:
            if self.loss(profile, gpu, through) < (_INF if chosen == NO_GPU else self.loss(profile, chosen, through)):
                chosen = gpu
        return chosen

    def _choose(self, profile: int, now_s: float, end_s: float) -> int:
        occupied = self._occupied[profile]
        if not occupied:
            return NO_GPU
        members = self._members[profile][(occupied & -occupied).bit_length() - 1]
        if self.policy.order is Order.CYCLIC:
            members = members >> self._cursor << self._cursor or members
        elif self.policy.order is Order.ENDS:
            return self._least_put_off(profile, members, now_s, end_s)
        return (members & -members).bit_length() - 1

    def _least_put_off(self, profile: int, members: int, now_s: float, end_s: float) -> int:
        """The GPU among these whose last end comes later by the least, then the tightest, then the first."""
        best, chosen = (float("inf"), float("inf")), NO_GPU
        losses = self._losses[profile]
        while members:
            gpu = (members & -members).bit_length() - 1
            members &= members - 1
            last = max(self._ends[gpu].values(), default=now_s)
            key = max(0.0, end_s - max(last, now_s)), losses[self._shown[gpu]]
            if key < best:
                best, chosen = key, gpu
        return chosen

    def loss(self, profile: int, gpu: int, through: Collection[int] = NOWHERE) -> float:
        """What the best placement of a profile costs on a GPU; inf where none is legal. `through` as in `choose`."""
        return self._losses[profile][(self._state if gpu in through else self._shown)[gpu]]

    def placement(self, profile: int, gpu: int, through: Collection[int] = NOWHERE) -> int:
        """The best placement of a profile on a GPU where it fits. `through` as in `choose`."""
        return self._choice[profile][(self._state if gpu in through else self._shown)[gpu]]

    # --- reservations

    def reserve(self, gpu: int, placement: int) -> None:
        """Keep a place free for one job from now on, whoever is still there. One place of a GPU at most."""
        self._reserved[gpu] = placement
        self._put(gpu, self.slices[gpu], self._state[gpu])

    def unreserve(self, gpu: int) -> None:
        """Keep it free no longer."""
        del self._reserved[gpu]
        self._put(gpu, self.slices[gpu], self._state[gpu])

    def drain_cost(self, gpu: int, profile: int) -> float:
        """The memory slices that are used in the place of a profile on a GPU where they are fewest; inf where there is
        no such place.
        """
        if profile not in self._costs:
            self._costs[profile] = draining.costs(self.geometry, self.geometry.profiles[profile]).tolist()
        return self._costs[profile][self._state[gpu]]

    def drains(self, gpu: int, profile: int) -> list[tuple[Drain, float]]:
        """The places of a profile on a GPU, and for each when the last of the jobs that have to leave it is expected to
        end.
        """
        kind = self.geometry
        indices = [index for index in range(len(self._memory)) if self.slices[gpu] >> index & 1]
        used = [kind.placements[index] for index in indices]
        ends = self._ends[gpu]
        return [
            (drain, max((ends[indices[position]] for position in drain.blockers), default=0.0))
            for index in kind.placements_of(kind.profiles[profile])
            if (drain := draining.blocked(kind, Geometry.EMPTY, used, kind.placements[index])) is not None
        ]

    def _left(self, bits: int, state: int, reserved: int) -> int:
        """What a GPU in this state, of these slices, offers to those who leave its reserved place alone."""
        kind = self.geometry
        place = kind.placements[reserved]
        used = [other for index, other in enumerate(kind.placements) if bits >> index & 1]
        drain = draining.blocked(kind, Geometry.EMPTY, used, place)
        assert drain is not None  # it is legal on an empty GPU
        stays = [other for position, other in enumerate(used) if position not in drain.blockers]
        return draining.common(kind, state, kind.state_of([place, *stays]))

    # --- slices

    def number(self, gpu: int, placement: int) -> int:
        """The number of a slice."""
        return gpu * len(self._memory) + placement

    def where(self, number: int) -> tuple[int, int]:
        """GPU and placement index of a slice."""
        return divmod(number, len(self._memory))

    def place(self, gpu: int, placement: int, end_s: float = 0.0) -> int:
        """Cut a slice, expected to be used until then; its number. Raises GeometryError where that is illegal."""
        after = self._step[self._state[gpu]][placement]
        if after < 0:
            raise errors.GeometryError(f"GPU {gpu}: {self.geometry.placements[placement]} does not fit")
        bits = self.slices[gpu] | 1 << placement
        self._states[bits] = after
        self._put(gpu, bits, after)
        self.used_compute += self._compute[placement]
        self.used_memory += self._memory[placement]
        self._cursor = (gpu + 1) % self.gpus
        self._ends[gpu][placement] = end_s
        return self.number(gpu, placement)

    def remove(self, number: int) -> float:
        """Destroy a slice; until when it was expected to be used. Raises GeometryError if there is none."""
        gpu, placement = self.where(number)
        if not self.slices[gpu] >> placement & 1:
            raise errors.GeometryError(f"GPU {gpu}: no {self.geometry.placements[placement]} to destroy")
        bits = self.slices[gpu] & ~(1 << placement)
        self._put(gpu, bits, self._state_of(bits))
        self.used_compute -= self._compute[placement]
        self.used_memory -= self._memory[placement]
        return self._ends[gpu].pop(placement)

    def _state_of(self, bits: int) -> int:
        """The state that a set of placements makes: a step back is no function of the state alone."""
        state = self._states.get(bits)
        if state is None:
            placements = self.geometry.placements
            state = self.geometry.state_of(p for i, p in enumerate(placements) if bits >> i & 1)
            self._states[bits] = state
        return state

    def _put(self, gpu: int, bits: int, after: int) -> None:
        self.slices[gpu] = bits
        self.stranded_memory += self._stranded[after] - self._stranded[self._state[gpu]]
        self._state[gpu] = after
        before = self._shown[gpu]
        if gpu in self._reserved:
            after = self._left(bits, after, self._reserved[gpu])
        self._shown[gpu] = after
        bit = 1 << gpu
        for profile, group in enumerate(self._group):
            if group[before] != group[after]:
                self._leave(profile, before, bit)
                self._enter(profile, after, bit)

    def _enter(self, profile: int, state: int, gpu: int) -> None:
        group = self._group[profile][state]
        if group >= 0:
            self._members[profile][group] |= gpu
            self._occupied[profile] |= 1 << group

    def _leave(self, profile: int, state: int, gpu: int) -> None:
        group = self._group[profile][state]
        if group >= 0:
            self._members[profile][group] ^= gpu
            if not self._members[profile][group]:
                self._occupied[profile] ^= 1 << group


def _groups(losses: list[float]) -> list[int]:
    """The rank of each state's loss, equal losses alike; -1 for inf. Sums are compared to nine digits."""
    rounded = [round(loss, 9) for loss in losses]
    rank = {loss: i for i, loss in enumerate(sorted({loss for loss in rounded if loss != float("inf")}))}
    return [rank.get(loss, -1) for loss in rounded]
