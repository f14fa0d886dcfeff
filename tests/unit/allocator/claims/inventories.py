"""How the inventory's tests look at an inventory."""

from allocator.claims.bound_pod import BoundPod
from allocator.claims.inventory import Inventory
from allocator.claims.ledger import Claim, ClaimState
from tests import builders

GPU = "n1-gpu-0"


def reserve(inventory: Inventory, name: str, *profiles: str, on: str = "n1") -> Claim:
    """Reserve for a new pod; it must fit."""
    claim = inventory.reserve(builders.uid_of(name), builders.NAMESPACE, name, builders.request(*profiles), on)
    assert isinstance(claim, Claim)
    return claim


def mask(inventory: Inventory, on: str = "n1", gpu: int = 0) -> int:
    """The taken memory slices of a node's GPU."""
    known, state = inventory.fleet.gpus(on)[gpu]
    return int(known.masks[state])


def state(inventory: Inventory, name: str) -> ClaimState | None:
    """The state of a pod's claim."""
    claim = inventory.ledger.get(builders.uid_of(name))
    return claim.state if claim else None


def places(inventory: Inventory, name: str) -> list[str]:
    """Where a pod's claim lies."""
    claim = inventory.ledger.get(builders.uid_of(name))
    return [f"{hold.gpu} {hold.placement}" for hold in claim.holds] if claim else []


def adoption_refused(inventory: Inventory, bound: BoundPod) -> str:
    """Why a bound pod is not taken over."""
    refusal = inventory.adopt(bound)
    assert refusal is not None
    return refusal.message
