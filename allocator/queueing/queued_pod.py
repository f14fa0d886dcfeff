"""QueuedPod: what is kept of a pod while it is in the queue, bounded, whatever its author wrote."""

from dataclasses import dataclass

from allocator.eligibility.constraints import PodConstraints
from allocator.eligibility.placed_pods import NOT_KNOWN, PlacedPod
from allocator.queueing.gang import Gang
from allocator.queueing.life import QueueState
from allocator.request import Request

GATE = "migsched.io/place"
GANG_ANNOTATION = "migsched.io/gang"  # a name; the pods of a namespace that share it are placed together or not at all
GANG_SIZE_ANNOTATION = "migsched.io/gang-size"  # how many they are
MAX_GANG = 1_024  # pods

Order = tuple[int, str, str, str]  # what pods in the queue are sorted by


@dataclass(frozen=True, slots=True)
class PodController:
    """The controller that makes a pod anew when it is deleted; pods of one template have the same."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class QueuedPod:
    """A pod in the queue. `version` is its resourceVersion, which guards its release.

    `affinity` is the text (JSON) of its affinity, which a release has to keep; empty if it has none. `problem` says in
    words why it cannot be placed whatever room there is, `preempts` whether others may be evicted for it. `created` is
    when (RFC 3339). `node` is where its place is, in the states that hold one; `spares` are other nodes where it has a
    place until it is bound (`spare_places`). `refusal` is what kube-scheduler says of a released pod that it cannot
    bind.
    """

    uid: str
    namespace: str
    name: str
    version: str
    priority: int
    created: str
    request: Request
    constraints: PodConstraints
    affinity: bytes = b""
    placed_as: PlacedPod = NOT_KNOWN  # what other pods have to know of it
    owner: PodController | None = None
    gang: Gang | None = None
    part: str = ""  # of its gang
    claims: tuple[str, ...] = ()  # its PersistentVolumeClaims
    preempts: bool = True
    problem: str = ""
    state: QueueState = QueueState.QUEUED
    node: str = ""
    spares: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def title(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.namespace}/{self.name}"

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where it has places: none, one, or several of which its scheduler chooses one."""
        return (self.node, *self.spares) if self.node else ()

    @property
    def order(self) -> Order:
        """The place in the queue."""
        return order(self.priority, self.created, self.namespace, self.name)


def order(priority: int, created: str, namespace: str, name: str) -> Order:
    """The place in the queue: higher priority first, then the older, then by name so that it is certain."""
    return (-priority, created, namespace, name)
