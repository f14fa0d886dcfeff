"""Snapshot: an immutable view of nodes, GPUs and who holds what, for people and planners.

Taken from an inventory by `take`, or node by node with `view`; shown by the API, `migsched top` and the demo; fed to
the planners, which must not touch the live state.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from allocator.claims.inventory import Inventory
from allocator.claims.report import GpuReport, NodeReport, SliceState
from allocator.eligibility.amounts import Amounts
from allocator.eligibility.node import NodeFacts
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement

ILL = "ill"


@dataclass(frozen=True, slots=True)
class Occupant:
    """A slice on a GPU: where, whose, and in which state (a claim's, or `idle`, `ill`, `foreign`, `unclaimed`).

    An idle slice that is ill is about to be destroyed: it is no room until it is gone.
    """

    placement: Placement
    state: str
    namespace: str = ""
    pod: str = ""
    container: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class GpuView:
    """One GPU: what it is, what is on it, and why it takes no new work, if so. `mask`: a bit per taken slice."""

    node: str
    uuid: str
    index: int
    product: str
    model: str
    memory_slices: int
    mask: int
    occupants: tuple[Occupant, ...]
    problem: str = ""
    catalogue: Catalogue | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node's GPUs; `problem` is set where its report could not be read.

    `facts` are those of its Node, None where they are not known; `closed` says in words why it takes no new pods, empty
    where it takes some or nothing is known of that. `used` is what the pods there ask for, finished ones aside; None
    where that is not known.
    """

    name: str
    gpus: tuple[GpuView, ...]
    problem: str = ""
    facts: NodeFacts | None = None
    closed: str = ""
    used: Amounts | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All nodes in name order."""

    nodes: tuple[NodeView, ...]

    def gpus(self) -> Iterable[GpuView]:
        """All GPUs, node by node."""
        return (gpu for node in self.nodes for gpu in node.gpus)


def take(inventory: Inventory) -> Snapshot:
    """The inventory as it is now."""
    return Snapshot(tuple(view(inventory, node) for node in sorted(inventory.reports(), key=lambda node: node.node)))


def view(inventory: Inventory, node: NodeReport) -> NodeView:
    """One node of the inventory as it is now."""
    return NodeView(node.node, tuple(_gpu(inventory, node.node, gpu) for gpu in node.gpus), node.problem)


def _gpu(inventory: Inventory, node: str, gpu: GpuReport) -> GpuView:
    occupants = {}
    for claim in inventory.ledger.on_node(node):
        for hold in claim.holds:
            if hold.gpu == gpu.uuid:
                occupants[claim.uid, hold.placement] = Occupant(
                    hold.placement, claim.state.value, claim.namespace, claim.name, hold.container, claim.uid
                )
    for slice_ in gpu.slices:
        owner = slice_.owner
        uid = owner.uid if owner else ""
        if (uid, slice_.placement) in occupants:
            continue
        state = slice_.state.value if slice_.state is not SliceState.ALLOCATED else "unclaimed"
        if slice_.state is SliceState.IDLE and not slice_.free:
            claimed = any(slice_.placement.overlaps(placement) for uid_, placement in occupants if uid_)
            state = state if claimed else ILL
        occupants[uid, slice_.placement] = Occupant(
            slice_.placement,
            state,
            owner.namespace if owner else "",
            owner.pod if owner else "",
            owner.container if owner else "",
            uid,
        )
    mask = 0
    for occupant in occupants.values():
        if occupant.state != SliceState.IDLE.value:
            mask |= occupant.placement.mask
    return GpuView(
        node=node,
        uuid=gpu.uuid,
        index=gpu.index,
        product=gpu.product,
        model=gpu.catalogue.model if gpu.catalogue else "",
        memory_slices=gpu.catalogue.memory_slices if gpu.catalogue else 0,
        mask=mask,
        occupants=tuple(sorted(occupants.values(), key=lambda o: (o.placement.start, o.uid))),
        problem=_problem(inventory, node, gpu),
        catalogue=gpu.catalogue,
    )


def _problem(inventory: Inventory, node: str, gpu: GpuReport) -> str:
    if not gpu.healthy:
        return gpu.message or "unhealthy"
    if gpu.catalogue is None:
        return gpu.message or "no catalogue"
    if not gpu.usable:
        return f"MIG mode {gpu.mig_mode.value.lower()}"
    return inventory.conflicts(node).get(gpu.uuid, "")
