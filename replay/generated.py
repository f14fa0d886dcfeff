"""Generated: a synthetic workload in a steady state: Poisson arrivals, exponential lifetimes, a mix of profiles.

The load is in memory slices: 1.0 offers, on average, exactly the memory slices that the GPUs have. The first
`warmup` mean lifetimes fill the GPUs and are not counted. The same seed gives the same jobs whatever the policy, so
that two policies are compared on common random numbers. Chosen by `sweep`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from allocator import errors
from allocator.mig.geometry import Geometry
from replay.job import Job

_CHUNK = 4096  # jobs drawn at once


@dataclass(frozen=True)
class Generated:
    """Jobs drawn from a mix (profile → share). `warmup` and `horizon` are in mean lifetimes of `lifetime_s` seconds.

    `lifetime_error` is how wrong the expected durations are: the standard deviation of the logarithm of
    expected ÷ true; 0 means that a policy may know the true one. Raises SettingsError for impossible values.
    """

    shares: Mapping[str, float]
    load: float = 1.0
    lifetime_s: float = 3600.0
    warmup: float = 8.0
    horizon: float = 40.0
    lifetime_error: float = 0.0

    def __post_init__(self) -> None:
        _check("load", self.load, 0.0 < self.load <= 100.0, "give a number above 0, at most 100; 1.0 is full")
        _check("lifetime", self.lifetime_s, 0.0 < self.lifetime_s < math.inf, "give seconds above 0")
        _check("warmup", self.warmup, 0.0 <= self.warmup < math.inf, "give mean lifetimes, 0 or more")
        _check("horizon", self.horizon, self.warmup < self.horizon <= 1e6, "give mean lifetimes, above the warm-up")
        _check("lifetime error", self.lifetime_error, 0.0 <= self.lifetime_error <= 10.0, "give a number, 0…10")

    @property
    def profiles(self) -> frozenset[str]:
        """The profiles of the mix."""
        return frozenset(self.shares)

    @property
    def window_s(self) -> tuple[float, float]:
        """From the end of the warm-up to the horizon."""
        return self.warmup * self.lifetime_s, self.last_arrival_s

    @property
    def last_arrival_s(self) -> float:
        """The horizon."""
        return self.horizon * self.lifetime_s

    @property
    def seeded(self) -> bool:
        """Every seed gives other jobs."""
        return True

    @property
    def movable(self) -> bool:
        """All of them."""
        return True

    def jobs(self, geometry: Geometry, gpus: int, seed: int) -> Iterator[Job]:
        """The jobs of a seed."""
        names = [name for name in geometry.profiles if name in self.shares]
        weights = np.array([self.shares[name] for name in names])
        wanted = [(geometry.profile_index[name],) for name in names]
        sizes = np.array([geometry.catalogue.profile(name).memory_slices for name in names])
        slices = gpus * geometry.catalogue.memory_slices
        gap_s = self.lifetime_s * float(weights @ sizes) / (self.load * slices)
        gaps, kinds, lives, errs = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
        now = 0.0
        while True:
            times = now + np.cumsum(gaps.exponential(gap_s, _CHUNK))
            durations = lives.exponential(self.lifetime_s, _CHUNK)
            expected = durations * np.exp(self.lifetime_error * errs.standard_normal(_CHUNK))
            chosen = kinds.choice(len(names), _CHUNK, p=weights)
            for at, duration, kind, guess in zip(
                times.tolist(), durations.tolist(), chosen.tolist(), expected.tolist(), strict=True
            ):
                if at > self.last_arrival_s:
                    return
                yield Job(at, duration, wanted[kind], guess)
            now = float(times[-1])


def _check(field: str, value: float, good: bool, fix: str) -> None:
    if not good:
        raise errors.SettingsError(field, value, fix)
