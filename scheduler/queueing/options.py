"""QueueOptions: how the queue of a service works. Made from the settings `queue_…`, read by the cycle."""

from dataclasses import dataclass

from allocator.queueing.release import QueueRelease


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Times are in seconds; docs/settings.md says what each of them does, under the same name with `queue_` before it.

    Off unless something else is said: preemption, reservations, fair shares, and what pods are told.
    """

    window_s: float
    return_s: float
    release: QueueRelease = QueueRelease.PIN
    fair: bool = False  # namespaces take turns
    preemption: str = "off"  # owned, any or off
    gang_keep_s: float = 60
    gang_limit_s: float = 300
    patience_s: float = 0
    reservations: int = 1
    spare_nodes: int = 0
    events: bool = False
    conditions: bool = False
