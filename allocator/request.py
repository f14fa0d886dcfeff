"""Request: the slices a pod asks for, by Kubernetes' own effective-request rule.

Made by the scheduler from a pod's containers and by every tool that plans for pods. The rule (Kubernetes
documentation, "Sidecar containers: resource sharing within containers"): per resource, the larger of the sum over
ordinary and restartable init ("sidecar") containers, and, for each ordinary init container, its own request plus
the sidecars that were started before it. An init container's devices are handed on to the containers after it, so
only what exceeds their sum is a slice of its own.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from allocator import errors
from allocator.mig.profile import is_mig_resource, profile_name

MAX_SLICES_PER_POD = 128  # sixteen full GPUs; a larger count is a slip of the pen, and would cost every filter call

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
class Request:
    """The slices of one pod; equal requests are interchangeable for a node's fit, whatever the containers' names."""

    slots: tuple[SliceRequest, ...] = field(default=())

    @cached_property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """(profile, number) pairs in name order: what decides whether a node fits."""
        return tuple(sorted(Counter(s.profile for s in self.slots).items()))

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
