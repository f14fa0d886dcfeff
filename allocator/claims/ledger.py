"""Ledger: every claim, with the one transition table of a claim's life.

A claim is a pod's hold on placements, from the moment the scheduler reserves them until the agent's report shows
the slices given back. Everything that changes a claim's state is an event in `TRANSITIONS`; an event the table does
not have raises and changes nothing. Owned by `inventory`, which decides which events to send; the diagram in
docs/architecture.md is generated from this table.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from allocator import errors
from allocator.mig.profile import GpuPlacement, Placement


class ClaimState(enum.StrEnum):
    """Where a claim is in its life. The value is the metric label."""

    RESERVED = "reserved"  # chosen; the Binding is not confirmed yet
    BOUND = "bound"  # the API server has nodeName and placement
    READY = "ready"  # the agent reports the slices cut and owned by the pod
    RELEASING = "releasing"  # the pod is over, but the agent still holds its slices


class ClaimEvent(enum.StrEnum):
    """What can happen to a claim."""

    CONFIRM = "confirm"  # the pod was seen bound as reserved
    REFUSE = "refuse"  # the Binding was refused: nothing happened
    CUT = "cut"  # the report shows all its slices
    LOSE = "lose"  # the report no longer shows them
    END = "end"  # the pod is over; the report still shows its slices
    FREE = "free"  # the pod is over and nothing of it is on the GPU


TRANSITIONS: Mapping[tuple[ClaimState, ClaimEvent], ClaimState | None] = {
    (ClaimState.RESERVED, ClaimEvent.CONFIRM): ClaimState.BOUND,
    (ClaimState.RESERVED, ClaimEvent.REFUSE): None,
    (ClaimState.RESERVED, ClaimEvent.CUT): ClaimState.READY,  # the reply was lost, but the agent saw the pod bound
    (ClaimState.RESERVED, ClaimEvent.END): ClaimState.RELEASING,
    (ClaimState.RESERVED, ClaimEvent.FREE): None,
    (ClaimState.BOUND, ClaimEvent.CONFIRM): ClaimState.BOUND,
    (ClaimState.BOUND, ClaimEvent.CUT): ClaimState.READY,
    (ClaimState.BOUND, ClaimEvent.END): ClaimState.RELEASING,
    (ClaimState.BOUND, ClaimEvent.FREE): None,
    (ClaimState.READY, ClaimEvent.CONFIRM): ClaimState.READY,
    (ClaimState.READY, ClaimEvent.CUT): ClaimState.READY,
    (ClaimState.READY, ClaimEvent.LOSE): ClaimState.BOUND,  # a node reboot: the agent will cut them again
    (ClaimState.READY, ClaimEvent.END): ClaimState.RELEASING,
    (ClaimState.READY, ClaimEvent.FREE): None,
    (ClaimState.RELEASING, ClaimEvent.END): ClaimState.RELEASING,
    (ClaimState.RELEASING, ClaimEvent.FREE): None,
}


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """One slice of a claim: which container gets it, on which GPU, where."""

    container: str
    gpu: str
    placement: Placement

    @property
    def place(self) -> GpuPlacement:
        """Where it is, whichever container has it."""
        return GpuPlacement(self.gpu, self.placement)


@dataclass(frozen=True, slots=True)
class Claim:
    """A pod's hold on placements of one node. `left` are places that it was promised, and left."""

    uid: str
    namespace: str
    name: str
    node: str
    holds: tuple[Hold, ...]
    state: ClaimState
    left: tuple[Hold, ...] = ()

    @property
    def pod(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.namespace}/{self.name}"


def left_behind(promised: Iterable[Hold], holds: Collection[Hold]) -> tuple[Hold, ...]:
    """The promised holds that overlap none of these: free for whom these were promised to."""
    return tuple(hold for hold in promised if not any(hold.place.overlaps(now.place) for now in holds))


class Ledger:
    """All claims by pod UID. The only way to change one is an event."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._by_node: dict[str, dict[str, Claim]] = {}
        self.on_change: Callable[[Claim | None, Claim | None], None] | None = None  # told a claim before and after

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims.values())

    def get(self, uid: str) -> Claim | None:
        """The claim of a pod, or None."""
        return self._claims.get(uid)

    def on_node(self, node: str) -> Iterable[Claim]:
        """The claims on a node, in the order in which they were made."""
        return self._by_node.get(node, {}).values()

    def open(self, claim: Claim) -> None:
        """Begin a claim's life, RESERVED (we chose) or BOUND (found on a bound pod).

        Raises LedgerError if the pod has one already, or the state is not one a life begins with.
        """
        if claim.uid in self._claims:
            raise errors.LedgerError(f"{claim.pod}: pod {claim.uid} has a claim already")
        if claim.state not in (ClaimState.RESERVED, ClaimState.BOUND):
            raise errors.LedgerError(f"{claim.pod}: a claim does not begin {claim.state.value}")
        self._put(claim)

    def apply(self, uid: str, event: ClaimEvent) -> Claim | None:
        """Let an event happen; the claim after it, or None where its life ends.

        Raises LedgerError, and changes nothing, for an event that the claim's state does not have.
        """
        claim = self._claims.get(uid)
        if claim is None:
            raise errors.LedgerError(f"pod {uid} has no claim to {event.value}")
        if (claim.state, event) not in TRANSITIONS:
            raise errors.LedgerError(f"{claim.pod}: cannot {event.value} a claim that is {claim.state.value}")
        after = TRANSITIONS[claim.state, event]
        if after is claim.state:
            return claim
        if after is None:
            del self._claims[uid]
            del self._by_node[claim.node][uid]
            if not self._by_node[claim.node]:
                del self._by_node[claim.node]
            if self.on_change is not None:
                self.on_change(claim, None)
            return None
        return self._put(replace(claim, state=after))

    def relocate(self, uid: str, holds: tuple[Hold, ...]) -> Claim:
        """Correct where a claim lies, after the agent's report: truth beats plan. Raises LedgerError if unknown.

        The claim remembers the places that it left: a pod whose place it got may be found bound later.
        """
        claim = self._claims.get(uid)
        if claim is None:
            raise errors.LedgerError(f"pod {uid} has no claim to move")
        before = tuple(dict.fromkeys((*claim.left, *claim.holds)))
        return self._put(replace(claim, holds=holds, left=left_behind(before, holds)))

    def _put(self, claim: Claim) -> Claim:
        before = self._claims.get(claim.uid)
        self._claims[claim.uid] = claim
        self._by_node.setdefault(claim.node, {})[claim.uid] = claim
        if self.on_change is not None:
            self.on_change(before, claim)
        return claim

    def check(self) -> None:
        """Raise LedgerError if the two indexes disagree. Called by tests after every step."""
        check_indexes(self._claims, self._by_node)


def check_indexes(claims: Mapping[str, Claim], by_node: Mapping[str, Mapping[str, Claim]]) -> None:
    """Raise LedgerError if the claims by UID and those by node and UID are not the same, or a node has none."""
    if {claim.uid: claim for on_node in by_node.values() for claim in on_node.values()} != claims:
        raise errors.LedgerError("the ledger's indexes disagree")
    for node, on_node in by_node.items():
        if not on_node or any(claim.node != node for claim in on_node.values()):
            raise errors.LedgerError(f"the ledger's index of {node} is wrong")
