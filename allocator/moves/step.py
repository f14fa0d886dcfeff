"""MoveStep: one pod's move as a Repack's status has it. The status is all that is remembered of it."""

from datetime import datetime

import msgspec

from allocator import errors
from allocator.moves.life import FINAL, TRANSITIONS, MoveEvent, MoveState

MAX_REASON = 300  # characters


class StepSlice(msgspec.Struct, frozen=True, rename="camel"):
    """One slice of a moved pod: its container, its profile, where it was and where it goes (GPU and start)."""

    container: str
    profile: str
    from_gpu: str
    from_start: int
    gpu: str
    start: int


class MoveStep(msgspec.Struct, frozen=True, rename="camel"):
    """One restart, in the plan's order. `pod` is `namespace/name`, `service` its owner as `Deployment/chat`.

    `memory_mib` is what of GPU memory it moves. `disturbed` says that its eviction was asked for, or may have been:
    such a step counts for the budgets for good. `replacement` is the UID of the pod that has the place. `plan` is the
    number of the plan that it is of.
    """

    number: int
    pod: str
    uid: str
    service: str
    from_node: str
    node: str
    slices: tuple[StepSlice, ...]
    memory_mib: int
    since: datetime
    state: MoveState = MoveState.PENDING
    reason: str = ""
    replacement: str = ""
    disturbed: bool = False
    plan: int = 1

    @property
    def namespace(self) -> str:
        """The namespace of its pod, and of its replacement."""
        return self.pod.partition("/")[0]

    @property
    def is_final(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in FINAL

    def after(self, event: MoveEvent, now: datetime, reason: str = "", replacement: str = "") -> "MoveStep":
        """The step after an event. Raises LedgerError for one that its state does not have."""
        if (self.state, event) not in TRANSITIONS:
            raise errors.LedgerError(f"move of {self.pod}: cannot {event.value} one that is {self.state.value}")
        state = TRANSITIONS[self.state, event]
        kept = replacement or (self.replacement if state in (MoveState.CONFIRMED, MoveState.ABANDONED) else "")
        return msgspec.structs.replace(
            self,
            state=state,
            since=now,
            reason=reason[:MAX_REASON],
            replacement=kept,
            disturbed=self.disturbed or event is MoveEvent.EVICT,
        )

    def noting(self, reason: str) -> "MoveStep":
        """The same step with what holds it up, in words."""
        return msgspec.structs.replace(self, reason=reason[:MAX_REASON])
