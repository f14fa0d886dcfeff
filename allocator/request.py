"""Request: the slices a pod asks for, by Kubernetes' own effective-request rule.

Made by the scheduler from a pod's containers and by every tool that plans for pods. The rule (Kubernetes
documentation, "Sidecar containers: resource sharing within containers"): per resource, the larger of the sum over
ordinary and restartable init ("sidecar") containers, and, for each ordinary init container, its own request plus
the sidecars that were started before it. An init container's devices are handed on to the containers after it, so
only what exceeds their sum is a slice of its own.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from allocator import errors
from allocator.mig.profile import is_mig_resource, profile_name

Counts = tuple[tuple[str, int], ...]  # (profile, number) in name order

MAX_SLICES_PER_POD = 128  # sixteen full GPUs; a larger count is a slip of the pen, and would cost every filter call
MAX_MIXED = 256  # ways to cut a mix that tells containers apart: five of two slices each, two of fifteen
NO_CONTAINER = -1  # of a mix: slices that may share a GPU with any other

_QUANTITY = re.compile(r"\+?(?P<digits>[0-9]{1,18})(?P<suffix>|k|M|[eE]\+?[0-3])")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6}


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """What the rule looks at: a container's name, its MIG limits, and for init containers whether it keeps running."""

    name: str
    resources: Mapping[str, str | int]
    restartable: bool = False

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.resources.items()), self.restartable))


@dataclass(frozen=True, slots=True, order=True)
class SliceRequest:
    """One slice asked for by one container."""

    container: str
    profile: str


@dataclass(frozen=True)
class Mix:
    """What decides where a request's slices go; requests of equal mixes are placed alike.

    `counts` has (profile, number) pairs in name order; a profile comes once for each of the `containers` that must be
    told apart. These are numbers, NO_CONTAINER for slices that may share a GPU with any other.
    """

    counts: Counts
    containers: tuple[int, ...]

    @cached_property
    def total(self) -> Counts:
        """The counts whatever the container: what decides whether a node fits."""
        if len({name for name, _ in self.counts}) == len(self.counts):
            return self.counts
        total: Counter[str] = Counter()
        for name, number in self.counts:
            total[name] += number
        return tuple(sorted(total.items()))

    @cached_property
    def packed(self) -> bool:
        """Whether all of the slices may share a GPU, whosever they are."""
        return all(number == NO_CONTAINER for number in self.containers)

    def totals(self, share: Sequence[int]) -> tuple[int, ...]:
        """A part of the request, in numbers like those of `counts`, in numbers like those of `total`."""
        if self.total is self.counts:
            return tuple(share)
        total = dict.fromkeys((name for name, _ in self.total), 0)
        for (name, _), number in zip(self.counts, share, strict=True):
            total[name] += number
        return tuple(total.values())

    def surplus(self, share: Sequence[int]) -> int:
        """The surplus slices on a GPU that takes this part: those of each container beyond its first there."""
        by_container: Counter[int] = Counter()
        for container, number in zip(self.containers, share, strict=True):
            if container != NO_CONTAINER:
                by_container[container] += number
        return sum(max(0, number - 1) for number in by_container.values())


@dataclass(frozen=True)
class Request:
    """The slices of one pod; requests of equal counts are interchangeable for a node's fit.

    `packed` says that slices of one container may share a GPU; otherwise they go to different GPUs first, since a CUDA
    process sees at most one slice of a GPU.
    """

    slots: tuple[SliceRequest, ...] = field(default=())
    packed: bool = False

    @cached_property
    def counts(self) -> Counts:
        """(profile, number) pairs in name order: what decides whether a node fits."""
        return tuple(sorted(Counter(s.profile for s in self.slots).items()))

    @cached_property
    def mix(self) -> Mix:
        """What decides where the slices go, whatever the containers' names.

        More containers of several slices than an exact answer can tell apart are not told apart.
        """
        anonymous = Mix(self.counts, (NO_CONTAINER,) * len(self.counts))
        several = () if self.packed else self._several
        if not several:
            return anonymous
        numbers = {name: number for number, (_, name) in enumerate(several)}
        told_apart = Counter((slot.profile, numbers.get(slot.container, NO_CONTAINER)) for slot in self.slots)
        axes = sorted(told_apart.items())
        mix = Mix(tuple((name, n) for (name, _), n in axes), tuple(container for (_, container), _ in axes))
        ways = math.prod(n + 1 for _, n in mix.counts)
        return mix if mix.total is mix.counts or ways <= MAX_MIXED else anonymous

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """By slice, its position in the counts of the mix."""
        mix = self.mix
        numbers = {} if mix.packed else {name: number for number, (_, name) in enumerate(self._several)}
        keys = ((name, container) for (name, _), container in zip(mix.counts, mix.containers, strict=True))
        position_of = {key: position for position, key in enumerate(keys)}
        return tuple(position_of[slot.profile, numbers.get(slot.container, NO_CONTAINER)] for slot in self.slots)

    @cached_property
    def _several(self) -> Sequence[tuple[Counts, str]]:
        """The containers that ask for several slices: what each asks for, and its name; in this order."""
        by_container: dict[str, list[str]] = {}
        for slot in self.slots:
            by_container.setdefault(slot.container, []).append(slot.profile)
        return sorted(
            (tuple(sorted(Counter(profiles).items())), name)
            for name, profiles in by_container.items()
            if len(profiles) > 1
        )

    def __bool__(self) -> bool:
        return bool(self.slots)

    def __str__(self) -> str:
        return " + ".join(name if n == 1 else f"{n} × {name}" for name, n in self.counts) or "nothing"


def of_containers(containers: Sequence[ContainerRequest], init: Sequence[ContainerRequest] = ()) -> Request:
    """The request of a pod with these containers.

    Raises RequestError, naming container, resource and fix, for a resource under `nvidia.com/mig-` that spells no
    profile, for a quantity that is not a whole number, is negative or huge.
    """
    slots: list[SliceRequest] = []
    started: Counter[str] = Counter()
    peaks: dict[str, tuple[int, str]] = {}
    for container in init:
        mig = _mig(container)
        if container.restartable:
            started += mig
            slots += _slots(container.name, mig)
            continue
        for name, number in mig.items():
            needed = number + started[name]
            if needed > peaks.get(name, (0, ""))[0]:
                peaks[name] = (needed, container.name)
    for container in containers:
        slots += _slots(container.name, _mig(container))
    steady = Counter(s.profile for s in slots)
    for name, (needed, owner) in sorted(peaks.items()):
        slots += [SliceRequest(owner, name)] * (needed - steady[name])
    if len(slots) > MAX_SLICES_PER_POD:
        raise errors.RequestError(
            "slices of one pod",
            len(slots),
            f"ask for at most {MAX_SLICES_PER_POD}; split the pod into replicas",
        )
    return Request(tuple(slots))


def _slots(container: str, counts: Mapping[str, int]) -> list[SliceRequest]:
    return [SliceRequest(container, name) for name, number in sorted(counts.items()) for _ in range(number)]


def _mig(container: ContainerRequest) -> Counter[str]:
    counts: Counter[str] = Counter()
    for resource, quantity in container.resources.items():
        if is_mig_resource(resource):
            number = _count(quantity, f"container {container.name}: {resource}")
            if number:
                counts[profile_name(resource)] += number
    return counts


def _count(quantity: str | int, where: str) -> int:
    """A Kubernetes quantity that must be a whole number of devices."""
    match = _QUANTITY.fullmatch(str(quantity).strip())
    if match is None:
        raise errors.RequestError(where, quantity, f"ask for a whole number of slices, 0 to {MAX_SLICES_PER_POD}")
    suffix = match["suffix"]
    factor = _FACTORS[suffix] if suffix in _FACTORS else 10 ** int(suffix.lstrip("eE+"))
    number = int(match["digits"]) * factor
    if number > MAX_SLICES_PER_POD:
        raise errors.RequestError(where, quantity, f"ask for at most {MAX_SLICES_PER_POD} slices in one pod")
    return number
