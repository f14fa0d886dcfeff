"""GpuPool: the GPUs of a replay, and which of them a policy chooses.

All GPUs are of one geometry. GPUs that the policy cannot tell apart are kept together as the bits of one integer, so
a choice costs the same for ten GPUs and for ten thousand: the lowest bit of the best group that is not empty. Every
step is one of the automaton; an illegal one raises. Owned by `engine`.
"""

from dataclasses import replace

from allocator import errors
from allocator.mig.geometry import Geometry
from allocator.placement import policy, room
from allocator.placement.policy import Order, Policy

NO_GPU = -1


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
        self._step: list[list[int]] = geometry.step.tolist()
        self._states: dict[int, int] = {0: Geometry.EMPTY}
        by_name = geometry.catalogue.by_name
        self._compute = [by_name[p.profile].compute_slices for p in geometry.placements]
        self._memory = [p.size for p in geometry.placements]
        wanted = frozenset(geometry.profiles)
        self._stranded = [room.stranded_slices(geometry, state, wanted) for state in range(geometry.states)]
        self.stranded_memory = gpus * self._stranded[Geometry.EMPTY]  # an empty GPU has slices that no profile covers
        self._cursor = 0
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
        for gpu, state in enumerate(self._state):
            for profile in range(len(self._group)):
                self._enter(profile, state, 1 << gpu)

    def choose(self, profile: int, now_s: float = 0.0, end_s: float = 0.0) -> int:
        """The GPU for a slice of a profile that is expected to be used until `end_s`, or NO_GPU."""
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
            key = max(0.0, end_s - max(last, now_s)), losses[self._state[gpu]]
            if key < best:
                best, chosen = key, gpu
        return chosen

    def loss(self, profile: int, gpu: int) -> float:
        """What the best placement of a profile costs on a GPU; inf where none is legal."""
        return self._losses[profile][self._state[gpu]]

    def placement(self, profile: int, gpu: int) -> int:
        """The best placement of a profile on a GPU where it fits."""
        return self._choice[profile][self._state[gpu]]

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
        before = self._state[gpu]
        self.slices[gpu] = bits
        self._state[gpu] = after
        self.stranded_memory += self._stranded[after] - self._stranded[before]
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
