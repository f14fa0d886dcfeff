"""NodeReport: what a node's agent says its GPUs are and hold, checked for sense.

Decoded from a MigNode by `contract`, kept by `inventory`. A report may be wrong (an agent's bug, a hand-written
object): each GPU's slices are checked against its catalogue here, and a GPU that contradicts itself takes no new
work instead of stopping the scheduler.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from allocator import errors
from allocator.claims.refusal import Refusal
from allocator.mig import geometry
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Placement


class SliceState(enum.Enum):
    """Who has a slice."""

    ALLOCATED = "allocated"  # a pod's; `owner` says whose
    IDLE = "idle"  # cut and free: kept warm, destroyed as soon as its room is wanted
    FOREIGN = "foreign"  # not ours; never touched


class MigMode(enum.Enum):
    """Whether a GPU can be cut now."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    UNSUPPORTED = "Unsupported"


@dataclass(frozen=True, slots=True)
class Owner:
    """The pod, and its container, that a slice was given to."""

    namespace: str
    pod: str
    uid: str
    container: str


@dataclass(frozen=True, slots=True)
class Illness:
    """Why the driver's errors make a slice or a GPU ill, and since when (RFC 3339)."""

    since: str
    message: str


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice that exists on a GPU. `unused_since` is when no process of its pod was seen on it for the first time
    (RFC 3339); None where one is, or the driver cannot tell.
    """

    placement: Placement
    state: SliceState
    owner: Owner | None = None
    mig_uuid: str = ""
    gpu_instance_id: int | None = None
    compute_instance_id: int | None = None
    illness: Illness | None = None
    unused_since: str | None = None

    @property
    def free(self) -> bool:
        """Its place may be given away: it is destroyed if that is wanted. An ill one has to be gone first."""
        return self.state is SliceState.IDLE and self.illness is None


@dataclass(frozen=True, slots=True)
class GpuReport:
    """One GPU as its agent sees it. `catalogue` is None where the agent could not read one."""

    uuid: str
    index: int
    product: str
    mig_mode: MigMode
    catalogue: Catalogue | None
    slices: tuple[Slice, ...] = ()
    healthy: bool = True
    message: str = ""
    illness: Illness | None = None

    @property
    def usable(self) -> bool:
        """Whether new slices may be placed on it, its present ones aside."""
        return self.healthy and self.mig_mode is MigMode.ENABLED and self.catalogue is not None

    def contradiction(self) -> Refusal | None:
        """Why these slices cannot exist on this GPU; None if they can."""
        if self.catalogue is None:
            return Refusal("it has slices but no catalogue") if self.slices else None
        try:
            geometry.compiled(self.catalogue).state_of(s.placement for s in self.slices)
        except errors.MigschedError as error:
            return Refusal(str(error))
        return None


@dataclass(frozen=True, slots=True)
class NodeReport:
    """All GPUs of a node. `problem` is set where the report as a whole could not be read."""

    node: str
    gpus: tuple[GpuReport, ...]
    problem: str = ""

    def by_uuid(self) -> Mapping[str, GpuReport]:
        """GPUs by UUID."""
        return {g.uuid: g for g in self.gpus}
