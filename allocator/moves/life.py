"""MoveState and RepackPhase: where one move and where a whole Repack is, and what can happen to them.

Everything that changes them is an event in `TRANSITIONS` or a pair in `PHASES`. The diagrams in docs/repacking.md are
generated from these tables.
"""

import enum
from collections.abc import Mapping

from allocator import errors


class MoveState(enum.StrEnum):
    """Where one pod's move is. The value is what a Repack's status says."""

    PENDING = "pending"  # nothing is done
    HELD = "held"  # its place is claimed; the pod is untouched
    EVICTING = "evicting"  # its eviction is asked for, now or again: a budget may make it wait
    GONE = "gone"  # it is evicted: on its way out, or gone
    REPLACED = "replaced"  # its replacement has the place
    CONFIRMED = "confirmed"  # the agent reports the slices there, owned by the replacement
    ABANDONED = "abandoned"  # it ends without; the reason stands beside it


class MoveEvent(enum.StrEnum):
    """What can happen to a move."""

    HOLD = "hold"  # its place was claimed
    LOSE = "lose"  # its place is held no more
    EVICT = "evict"  # the eviction is about to be asked for
    GO = "go"  # the pod was seen being deleted, or gone
    REPLACE = "replace"  # another pod of its owner has the place
    VANISH = "vanish"  # that pod is gone before it ran
    CONFIRM = "confirm"  # the agent reports its slices
    ABANDON = "abandon"  # it is not to go on


TRANSITIONS: Mapping[tuple[MoveState, MoveEvent], MoveState] = {
    (MoveState.PENDING, MoveEvent.HOLD): MoveState.HELD,
    (MoveState.PENDING, MoveEvent.ABANDON): MoveState.ABANDONED,
    (MoveState.HELD, MoveEvent.LOSE): MoveState.PENDING,
    (MoveState.HELD, MoveEvent.EVICT): MoveState.EVICTING,
    (MoveState.HELD, MoveEvent.ABANDON): MoveState.ABANDONED,
    (MoveState.EVICTING, MoveEvent.GO): MoveState.GONE,
    (MoveState.EVICTING, MoveEvent.ABANDON): MoveState.ABANDONED,
    (MoveState.GONE, MoveEvent.REPLACE): MoveState.REPLACED,
    (MoveState.GONE, MoveEvent.ABANDON): MoveState.ABANDONED,
    (MoveState.REPLACED, MoveEvent.VANISH): MoveState.GONE,
    (MoveState.REPLACED, MoveEvent.CONFIRM): MoveState.CONFIRMED,
    (MoveState.REPLACED, MoveEvent.ABANDON): MoveState.ABANDONED,
}

FINAL = frozenset({MoveState.CONFIRMED, MoveState.ABANDONED})
UNTOUCHED = frozenset({MoveState.PENDING, MoveState.HELD})  # states in which a pod has not been disturbed
AWAY = frozenset({MoveState.GONE, MoveState.REPLACED})  # states in which a pod is disturbed and nobody runs for it yet


class RepackPhase(enum.StrEnum):
    """Where a Repack is."""

    PENDING = "Pending"  # to be planned
    WAITING = "Waiting"  # there is no plan as things are; it is looked for again
    PLANNED = "Planned"  # DryRun: the plan is all
    PROPOSED = "Proposed"  # the plan waits for approval
    RUNNING = "Running"  # moves are made
    STOPPING = "Stopping"  # no more moves begin; those under way come to an end
    DONE = "Done"
    FAILED = "Failed"


PHASES: Mapping[RepackPhase, frozenset[RepackPhase]] = {
    RepackPhase.PENDING: frozenset(
        {
            RepackPhase.WAITING,
            RepackPhase.PLANNED,
            RepackPhase.PROPOSED,
            RepackPhase.RUNNING,
            RepackPhase.DONE,
            RepackPhase.FAILED,
        }
    ),
    RepackPhase.WAITING: frozenset({RepackPhase.PENDING, RepackPhase.DONE, RepackPhase.FAILED}),
    RepackPhase.PLANNED: frozenset({RepackPhase.PENDING}),
    RepackPhase.PROPOSED: frozenset({RepackPhase.PENDING, RepackPhase.DONE, RepackPhase.RUNNING}),
    RepackPhase.RUNNING: frozenset({RepackPhase.STOPPING, RepackPhase.PENDING, RepackPhase.DONE}),
    RepackPhase.STOPPING: frozenset({RepackPhase.PENDING, RepackPhase.DONE, RepackPhase.FAILED}),
    RepackPhase.DONE: frozenset(),
    RepackPhase.FAILED: frozenset(),
}

ENDED = frozenset({RepackPhase.DONE, RepackPhase.FAILED})
MOVING = frozenset({RepackPhase.RUNNING, RepackPhase.STOPPING})


def check() -> None:
    """Raise LedgerError unless every state can be reached and left, and the final ones only be reached."""
    reached = {MoveState.PENDING} | set(TRANSITIONS.values())
    left = {state for state, _ in TRANSITIONS}
    if reached != set(MoveState) or left != set(MoveState) - FINAL:
        raise errors.LedgerError("the table of moves has a state that cannot be reached, or not be left")
    if any((state, MoveEvent.ABANDON) not in TRANSITIONS for state in left):
        raise errors.LedgerError("the table of moves has a state in which a move cannot be abandoned")
    phases = {RepackPhase.PENDING}.union(*PHASES.values())
    if phases != set(RepackPhase) or {phase for phase, after in PHASES.items() if not after} != ENDED:
        raise errors.LedgerError("the table of phases has one that cannot be reached, or not be left")


def phase_after(before: RepackPhase, after: RepackPhase) -> RepackPhase:
    """The phase that a Repack goes over to; the same one is always allowed. Raises LedgerError for any other that the
    table does not have.
    """
    if after is not before and after not in PHASES[before]:
        raise errors.LedgerError(f"a Repack does not go from {before.value} to {after.value}")
    return after
