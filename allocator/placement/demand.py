"""Demand: which share of the requests asks for which profile, estimated as they come.

Kept by the code that places with a policy whose losses follow the demand (`Policy.weigh`); the simulator's engine does.
"""

from collections.abc import Sequence

from allocator import errors
from allocator.placement.policy import Weights

_STEPS = 64  # weights are multiples of 1/64 of the largest, so that noise does not make new tables all the time


class Demand:
    """An exponentially weighted average over the last requests, about `memory` of them.

    A profile never weighs less than `floor` (a share): a rare large profile that weighed nothing would never find
    room again.
    """

    def __init__(self, profiles: Sequence[str], memory: float = 1000.0, floor: float = 0.1) -> None:
        if memory < 1:
            raise errors.SettingsError("memory of the demand", memory, "give the number of requests, at least 1")
        if not 0 <= floor <= 1:
            raise errors.SettingsError("floor of the demand", floor, "give a share, 0…1")
        self.profiles = tuple(profiles)
        self._floor = floor
        self._growth = 1 + 1 / memory
        self._next = 1.0  # what the next request weighs: growing weights are the same as fading ones, in O(1)
        self._seen = [memory / len(self.profiles)] * len(self.profiles)

    def saw(self, profile: int) -> None:
        """A request for the profile of this index."""
        self._seen[profile] += self._next
        self._next *= self._growth
        if self._next > 1e100:
            self._seen = [count / self._next for count in self._seen]
            self._next = 1.0

    def weights(self) -> Weights:
        """The share of each profile, not below the floor, rounded and not normalised."""
        total = sum(self._seen)
        shares = [max(count / total, self._floor) for count in self._seen]
        top = max(shares)
        return tuple(
            (name, round(_STEPS * share / top) / _STEPS) for name, share in zip(self.profiles, shares, strict=True)
        )
