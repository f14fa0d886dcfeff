"""PromisedPlaces: places that are held for pods before these exist, for the queueing cycle to ask for.

Implemented by `scheduler.moves`; a queue without it has none.
"""

from typing import Protocol

from allocator.queueing.queued_pod import QueuedPod


class PromisedPlaces(Protocol):
    """Places held for pods that come in the stead of others, or that room is made for."""

    def refresh(self) -> None:
        """Bring what is held in line with the cluster; a cycle begins."""

    def waits(self, pod: QueuedPod) -> bool:
        """Whether a pod is to wait: its place is not free yet, and will be."""

    def take(self, pod: QueuedPod) -> str:
        """The node of the place that was held for a pod, whose own claim it is from now on; empty if none was."""


class NoPromises:
    """Nothing is held for anybody."""

    def refresh(self) -> None:
        """See PromisedPlaces."""

    def waits(self, pod: QueuedPod) -> bool:
        """See PromisedPlaces."""
        del pod
        return False

    def take(self, pod: QueuedPod) -> str:
        """See PromisedPlaces."""
        del pod
        return ""
