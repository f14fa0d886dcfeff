"""Compute instances: into what a GPU instance can be split, and where each part may lie. Used by gpu.

Their placement units are compute slices of the GPU instance; memory and media engines are shared by all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from allocator.mig.profile import Profile

MAX_COMPUTE_INSTANCES = 8  # ids 0…7 in every GPU instance
REV1 = 7  # NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1
_ENUM_OF_SIZE = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}
# How many compute instances of a size a GPU instance of a size takes, {GPU instance: {size: instances}}.
_SPLITS = {1: {1: 1}, 2: {1: 2, 2: 1}, 3: {1: 3, 2: 1, 3: 1}, 4: {1: 4, 2: 2, 4: 1}, 7: {1: 7, 2: 3, 3: 2, 4: 1, 7: 1}}


@dataclass(frozen=True, slots=True)
class ComputeProfile:
    """A size of compute instance inside GPU instances of one profile. `starts` are compute slices."""

    enum_index: int
    profile_id: int
    size: int
    instances: int
    sm: int
    starts: tuple[int, ...]


def profiles(parent: Profile, sm_per_slice: int) -> tuple[ComputeProfile, ...]:
    """Into what GPU instances of a profile can be split, by enumerator.

    A GPU instance with one compute slice lists two full-size profiles. Where it has more multiprocessors than a
    slice (1g.20gb of an H100: 26 against 16), only the second, REV1, takes them all; listings show that
    nvidia-smi gives that one by default there.
    """
    whole = parent.compute_slices
    most = parent.sm or sm_per_slice * whole
    listed = [_profile(size, whole, count, most, sm_per_slice) for size, count in _SPLITS[whole].items()]
    if whole == 1:
        listed.append(ComputeProfile(REV1, REV1, 1, 1, most, (0,)))
    return tuple(listed)


def full(of: tuple[ComputeProfile, ...]) -> ComputeProfile:
    """The profile that takes the whole GPU instance, all its multiprocessors included."""
    return max(of, key=lambda profile: (profile.size, profile.sm, -profile.enum_index))


def free_starts(profile: ComputeProfile, taken: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Starts of a profile that overlap none of the taken (start, size) spans."""
    used = {slot for start, size in taken for slot in range(start, start + size)}
    return tuple(s for s in profile.starts if used.isdisjoint(range(s, s + profile.size)))


def choose_start(
    profile: ComputeProfile, of: tuple[ComputeProfile, ...], taken: tuple[tuple[int, int], ...]
) -> int | None:
    """Where the driver puts one that asks for no place: the span that costs the least capacity, lowest first."""

    def left_after(start: int) -> int:
        return sum(len(free_starts(other, (*taken, (start, profile.size)))) for other in of)

    return max(free_starts(profile, taken), key=lambda start: (left_after(start), -start), default=None)


def _profile(size: int, whole: int, count: int, most: int, sm_per_slice: int) -> ComputeProfile:
    step = 1 << (size - 1).bit_length()  # spans begin at multiples of the next power of two
    sm = most if size == whole > 1 else min(most, size * sm_per_slice)
    return ComputeProfile(
        _ENUM_OF_SIZE[size], _ENUM_OF_SIZE[size], size, count, sm, tuple(range(0, whole - size + 1, step))
    )
