"""Amounts: CPU, memory, ephemeral storage and pods, as exact whole numbers, and what a pod asks of them.

The rule of `requested` is kube-scheduler's: containers and sidecars run together, an init container beside the sidecars
that were started before it; what a pod says of itself as a whole replaces that; its overhead comes on top (Kubernetes
documentation, "Sidecar Containers", "Pod-level resources", "Pod Overhead").
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from allocator.eligibility import quantity

Quantities = Mapping[str, str | int]
"""Resource name → quantity, as Kubernetes writes them."""

CPU, MEMORY, EPHEMERAL_STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
_JUDGED = (CPU, MEMORY, EPHEMERAL_STORAGE)
_OF_POD = (CPU, MEMORY)  # what a pod as a whole may ask for
UNREADABLE = "quantity "  # how what cannot be read is named
_SHOWN = 5  # of bad quantities or unjudged resources
_CHARACTERS = 63  # of a text that is shown


@dataclass(frozen=True, slots=True)
class Amounts:
    """CPU in thousandths, memory and ephemeral storage in bytes, and pods."""

    cpu_milli: int = 0
    memory: int = 0
    ephemeral_storage: int = 0
    pods: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.cpu_milli + other.cpu_milli,
            self.memory + other.memory,
            self.ephemeral_storage + other.ephemeral_storage,
            self.pods + other.pods,
        )

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.cpu_milli - other.cpu_milli,
            self.memory - other.memory,
            self.ephemeral_storage - other.ephemeral_storage,
            self.pods - other.pods,
        )

    @property
    def each(self) -> tuple[int, int, int, int]:
        """The amounts, one after the other."""
        return self.cpu_milli, self.memory, self.ephemeral_storage, self.pods

    def fits(self, free: "Amounts") -> bool:
        """Whether so much is free. Who asks for nothing of a sort is not kept away by there being too little of it."""
        return all(asked <= have or asked <= 0 for asked, have in zip(self.each, free.each, strict=True))

    def copies_in(self, free: "Amounts") -> int:
        """How many pods that ask for this much fit into what is free; `quantity.MOST` if they ask for nothing."""
        parts = (have // asked for asked, have in zip(self.each, free.each, strict=True) if asked)
        return max(0, min(parts, default=quantity.MOST))


NOTHING = Amounts()
ONE_POD = Amounts(pods=1)
NO_LIMIT = Amounts(*[quantity.MOST] * 4)  # of a node, what refuses no pod


@dataclass(frozen=True, slots=True)
class ContainerQuantities:
    """What a container asks for, and for an init container whether it keeps running."""

    requests: Quantities
    restartable: bool = False


def allocatable(quantities: Quantities) -> tuple[Amounts, tuple[str, ...]]:
    """What a node offers, and in words what of it cannot be read; that counts as without limit."""
    amounts, unreadable = _read(quantities, (*_JUDGED, PODS), otherwise=quantity.MOST)
    return _rounded(amounts, -(-amounts.get(PODS, 0) // quantity.NANO)), unreadable


def requested(
    containers: Sequence[ContainerQuantities],
    init: Sequence[ContainerQuantities] = (),
    *,
    of_pod: Quantities | None = None,
    overhead: Quantities | None = None,
) -> tuple[Amounts, tuple[str, ...]]:
    """What a pod asks for, itself included, and in words what of it cannot be read; that counts as nothing."""
    unreadable: list[str] = []

    def read(quantities: Quantities | None, names: Sequence[str] = _JUDGED) -> dict[str, int]:
        amounts, bad = _read(quantities or {}, names)
        unreadable.extend(bad)
        return amounts

    running: dict[str, int] = {}
    for container in containers:
        _add(running, read(container.requests))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in init:
        amounts = read(container.requests)
        if container.restartable:
            _add(running, amounts)
            _add(sidecars, amounts)
            amounts = sidecars
        else:
            _add(amounts, sidecars)
        peak = {name: max(peak.get(name, 0), amounts.get(name, 0)) for name in _JUDGED}
    total = {name: max(running.get(name, 0), peak.get(name, 0)) for name in _JUDGED} | read(of_pod, _OF_POD)
    _add(total, read(overhead))
    return _rounded(total, 1), tuple(dict.fromkeys(unreadable))[:_SHOWN]


def unjudged(quantities: Iterable[Quantities | None], besides: Iterable[str] = ()) -> tuple[str, ...]:
    """In words, the resources that are asked for and not looked at, of those whose name starts with none of `besides`.

    A container may name thousands: only the first few are told.
    """
    known = (*_JUDGED, PODS)
    ignored = tuple(besides)
    names: dict[str, None] = {}
    for asked in quantities:
        for name, amount in (asked or {}).items():
            if name not in known and amount not in (0, "0") and not name.startswith(ignored):
                names[name[:_CHARACTERS]] = None
                if len(names) == _SHOWN:
                    return tuple(f"resource {shown}" for shown in names)
    return tuple(f"resource {shown}" for shown in names)


def _read(quantities: Quantities, names: Sequence[str], otherwise: int = 0) -> tuple[dict[str, int], tuple[str, ...]]:
    amounts: dict[str, int] = {}
    unreadable = []
    for name in names:
        text = quantities.get(name)
        if text is None:
            continue
        amount = quantity.parse(text)
        if amount is None:
            unreadable.append(f"{UNREADABLE}{str(text)[:_CHARACTERS]!r} of {name}")
        amounts[name] = otherwise if amount is None else amount
    return amounts, tuple(unreadable)


def _add(amounts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0) + amount


def _rounded(nano: Mapping[str, int], pods: int) -> Amounts:
    """Billionths as Kubernetes compares them, rounded up: CPU to thousandths, the rest to whole numbers."""
    cpu = -(-nano.get(CPU, 0) * 1000 // quantity.NANO)
    memory, storage = (-(-nano.get(name, 0) // quantity.NANO) for name in (MEMORY, EPHEMERAL_STORAGE))
    return Amounts(cpu, memory, storage, pods)
