"""WaitingPods: the pods that wait for room, whom the requeuer has tried again when some arises.

A pod that filter refused waits. After a restart nobody knows whom filter has refused before: kube-scheduler keeps its
queue, and does not ask again by itself for minutes. So a listed pod that is pending counts as refused until it is asked
about or bound. Pods that a watch brings are new: kube-scheduler asks about them soon.
"""

from kubeclient.objects import Pod
from scheduler.kube_scheduler_config import SCHEDULER_NAME

MAX_SCHEDULERS = 16  # whose names are learned from their calls


class WaitingPods:
    """Refused pods, and those that may have been refused before this process began."""

    def __init__(self) -> None:
        self.refused: set[str] = set()  # fit nowhere when they last asked
        self._unasked: dict[str, str] = {}  # listed and pending, not asked about yet, by UID; each one's scheduler
        self._schedulers = {"", SCHEDULER_NAME}

    def listed(self, pod: Pod) -> bool:
        """A list of the API server has this pod. Returns whether it may have been refused before."""
        meta, spec = pod.metadata, pod.spec
        waits = not (spec.node_name or spec.scheduling_gates or pod.is_over or meta.deletion_timestamp is not None)
        if waits and meta.uid not in self.refused:
            self._unasked[meta.uid] = spec.scheduler_name
        return meta.uid in self._unasked and spec.scheduler_name in self._schedulers

    def asked(self, pod: Pod) -> None:
        """kube-scheduler calls about this pod: what it is told now counts."""
        self._unasked.pop(pod.metadata.uid, None)

    def learn(self, scheduler: str) -> None:
        """A scheduler has called."""
        if len(self._schedulers) < MAX_SCHEDULERS:
            self._schedulers.add(scheduler)

    def is_ours(self, scheduler: str) -> bool:
        """Whether a scheduler asks this service: the shipped configuration names it, or it has called."""
        return scheduler in self._schedulers

    def discard(self, uid: str) -> None:
        """A pod waits no more."""
        self.refused.discard(uid)
        self._unasked.pop(uid, None)

    def __bool__(self) -> bool:
        """Whether anybody waits who would be asked about here."""
        return bool(self.refused) or any(name in self._schedulers for name in self._unasked.values())
