"""PodEvents: what pods are told by Kubernetes Events, each thing once. Filled by reconciler, which sends them along.

The reasons are in docs/runbook.md, which a test compares with the constants here.
"""

from collections.abc import Callable, Mapping

from kubeclient.events import PodEvent
from node_agent.cluster.pods import PodView

READY_EVENT = "SliceReady"
FAILED_EVENT = "SliceFailed"
HIDDEN_EVENT = "SliceHidden"
ILL_EVENT = "SliceIll"
SAME_GPU_EVENT = "SlicesOnOneGpu"
NOTE_EVENT = "SlicesAnnotation"
MAX_EVENTS = 50  # of one step: a node full of false promises must not flood the API server


class PodEvents:
    """The events recorded since the last step, and what was recorded for pods that still exist."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recorded: set[tuple[str, str, str]] = set()  # UID, reason, message
        self._first_seen_at: dict[str, float] = {}
        self._pending: list[PodEvent] = []

    def observe_pods(self, pods: Mapping[str, PodView]) -> None:
        """Note when each pod was first seen; forget those that are gone."""
        now = self._clock()
        self._first_seen_at = {uid: self._first_seen_at.get(uid, now) for uid in pods}
        self._recorded = {key for key in self._recorded if key[0] in pods}

    def failed(self, pod: PodView, message: str) -> None:
        """A slice of the pod cannot be had."""
        self._record(pod, FAILED_EVENT, message, "Warning")

    def hidden(self, pod: PodView, message: str) -> None:
        """A container of the pod does not see all of its slices."""
        self._record(pod, HIDDEN_EVENT, message, "Warning")

    def ill(self, pod: PodView, message: str) -> None:
        """A slice of the pod, or its GPU, is ill."""
        self._record(pod, ILL_EVENT, message, "Warning")

    def same_gpu(self, pod: PodView, message: str) -> None:
        """Several slices of a container lie on one GPU; said once, whatever becomes of them."""
        if not any(key[:2] == (pod.uid, SAME_GPU_EVENT) for key in self._recorded):
            self._record(pod, SAME_GPU_EVENT, message, "Warning")

    def noted(self, pod: PodView) -> None:
        """An annotation of the pod is not understood."""
        self._record(pod, NOTE_EVENT, pod.note, "Warning")

    def ready(self, pod: PodView, slice_: str) -> float:
        """A slice of the pod is ready; how many seconds after the pod was first seen."""
        now = self._clock()
        took_s = now - self._first_seen_at.get(pod.uid, now)
        self._record(pod, READY_EVENT, f"{slice_} ready after {took_s:.1f} s", "Normal")
        return took_s

    def drain(self) -> tuple[PodEvent, ...]:
        """The events to be sent now."""
        events, self._pending = tuple(self._pending), []
        return events

    def _record(self, pod: PodView, reason: str, message: str, type_: str) -> None:
        key = (pod.uid, reason, message)
        if key in self._recorded or len(self._pending) >= MAX_EVENTS:
            return
        self._recorded.add(key)
        self._pending.append(PodEvent(pod.namespace, pod.name, pod.uid, type_, reason, message))
