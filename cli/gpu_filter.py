"""Which GPUs a view shows, in which order, and what they add up to. Pure; used by `migsched top`."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from allocator.claims.snapshot import GpuView, NodeView


class Sort(enum.StrEnum):
    """The orders of `--sort`: by name, or by free memory slices, most or least first."""

    NODE = "node"
    FREE = "free"
    FULL = "full"


@dataclass(frozen=True)
class GpuFilter:
    """What is shown: GPUs that satisfy every field that is set. `used` means: with at least one slice on them."""

    nodes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    namespace: str = ""
    used: bool = False

    def of(self, nodes: Iterable[NodeView]) -> list[NodeView]:
        """These nodes with the GPUs that are shown; a node without any only if nothing is asked about GPUs."""
        kept = []
        for node in nodes:
            if self.nodes and node.name not in self.nodes:
                continue
            gpus = tuple(gpu for gpu in node.gpus if self._shows(gpu))
            if gpus or not self._about_gpus:
                kept.append(replace(node, gpus=gpus))
        return kept

    @property
    def _about_gpus(self) -> bool:
        return bool(self.models or self.profiles or self.namespace or self.used)

    def _shows(self, gpu: GpuView) -> bool:
        on_it = {occupant.placement.profile for occupant in gpu.occupants}
        owners = {occupant.namespace for occupant in gpu.occupants if occupant.pod}
        return (
            (not self.models or gpu.model in self.models)
            and (not self.profiles or not on_it.isdisjoint(self.profiles))
            and (not self.namespace or self.namespace in owners)
            and (not self.used or bool(gpu.occupants))
        )

    def text(self) -> str:
        """What is set, for a title; empty where nothing is."""
        parts = [*self.nodes, *self.models, *self.profiles]
        parts += [f"namespace {self.namespace}"] if self.namespace else []
        parts += ["used GPUs"] if self.used else []
        return ", ".join(parts)


def free(gpu: GpuView) -> int:
    """Memory slices that nobody has; none on a GPU that takes no work."""
    return 0 if gpu.problem else gpu.memory_slices - taken(gpu)


def taken(gpu: GpuView) -> int:
    """Memory slices that somebody has."""
    return gpu.mask.bit_count()


def ordered(nodes: Iterable[NodeView], sort: Sort) -> list[tuple[NodeView, GpuView]]:
    """All GPUs with their nodes, in an order; equals by name."""
    gpus = [(node, gpu) for node in sorted(nodes, key=lambda node: node.name) for gpu in node.gpus]
    if sort is Sort.FREE:
        return sorted(gpus, key=lambda pair: -free(pair[1]))
    if sort is Sort.FULL:
        return sorted(gpus, key=lambda pair: -taken(pair[1]))
    return gpus


def sorted_nodes(nodes: Iterable[NodeView], sort: Sort) -> list[NodeView]:
    """Nodes in the same orders, by all their GPUs."""
    by_name = sorted(nodes, key=lambda node: node.name)
    if sort is Sort.NODE:
        return by_name
    count = free if sort is Sort.FREE else taken
    return sorted(by_name, key=lambda node: -sum(map(count, node.gpus)))


def totals(nodes: Sequence[NodeView]) -> str:
    """One line: nodes, GPUs, slices and memory slices of what is shown; what is free on closed nodes apart."""
    gpus = [gpu for node in nodes for gpu in node.gpus]
    closed = [node for node in nodes if node.closed]
    apart = sum(free(gpu) for node in closed for gpu in node.gpus)
    used = sum(bool(gpu.occupants) for gpu in gpus)
    slices = sum(len(gpu.occupants) for gpu in gpus)
    ill = sum(bool(gpu.problem) for gpu in gpus) + sum(bool(node.problem) for node in nodes)
    parts = [
        _count(len(nodes), "node"),
        f"{_count(len(gpus), 'GPU')} ({used} used)",
        _count(slices, "slice"),
        f"{sum(map(taken, gpus))} memory slices taken, {sum(map(free, gpus)) - apart} free",
    ]
    if closed:
        parts.append(f"{apart} more on {_count(len(closed), 'node')} closed to new pods")
    return ", ".join([*parts, *([_count(ill, "problem")] if ill else [])])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
