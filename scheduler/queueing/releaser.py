"""Releaser: one pod's release carried to a definite end: PATCH, and, if the reply is lost, again until the API server
has answered. Called by the cycle.

The place is claimed before the PATCH and stays so until it is certain that the pod does not have it. The PATCH is
guarded by UID and resourceVersion, so it happens once, whoever sends it how often.
"""

import asyncio

import structlog

from allocator import errors
from allocator.claims import contract, held
from allocator.queueing.life import QueueEvent, QueueState
from allocator.queueing.queued_pod import GATE, QueuedPod
from config import fail_points
from kubeclient.objects import Pod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import Cluster, Release
from scheduler.metrics import Metrics
from scheduler.queueing import pinning

_log = structlog.get_logger("queue")
CALLS = 32  # releases in flight
FIRST_RETRY_S = 0.1
MAX_RETRY_S = 5.0


class Releaser:
    """Releases pods, several at once, one attempt per pod."""

    def __init__(
        self, state: ClusterCache, cluster: Cluster, metrics: Metrics, *, first_retry_s: float = FIRST_RETRY_S
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._metrics = metrics
        self._first_retry_s = first_retry_s
        self._calls = asyncio.Semaphore(CALLS)
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._not_as: dict[str, str] = {}  # pods whose release was refused, by UID: at which version

    def may_try(self, pod: QueuedPod) -> bool:
        """Whether a release can do anything: none is on its way, and none was refused of the pod as it is."""
        return pod.uid not in self._attempts and self._not_as.get(pod.uid) != pod.version

    def release(self, pod: QueuedPod) -> None:
        """Release a pod that holds a place, or one that asks for no slice."""
        attempt = asyncio.create_task(self._attempt(pod), name=f"release {pod.title}")
        self._attempts[pod.uid] = attempt
        attempt.add_done_callback(lambda _: self._attempts.pop(pod.uid, None))

    def forget(self) -> None:
        """Forget refusals of pods that are not queued any more."""
        for uid in [uid for uid in self._not_as if uid not in self._state.queue]:
            del self._not_as[uid]

    async def drain(self, timeout_s: float) -> int:
        """Wait for attempts in flight; how many are left without an end."""
        if not self._attempts:
            return 0
        _, left = await asyncio.wait(tuple(self._attempts.values()), timeout=timeout_s)
        for attempt in left:
            attempt.cancel()
        return len(left)

    async def _attempt(self, pod: QueuedPod) -> None:
        async with self._calls:
            await fail_points.pass_by("queue.held")
            try:
                release = self._release(pod)
                if release is None:
                    return
                refusal = await self._until_definite(release)
            except errors.InputError as error:
                refusal = str(error)
            await fail_points.pass_by("queue.released")
            self._settle(pod, refusal)

    def _release(self, pod: QueuedPod) -> Release | None:
        """What is to be written; None if the pod is gone by now."""
        claim = self._state.inventory.ledger.get(pod.uid)
        if claim is None:
            if pod.request:
                return None
            return Release(pod.namespace, pod.name, pod.uid, pod.version, GATE, None, {})
        annotations = {contract.PLACEMENT_ANNOTATION: contract.encode_placement(held.promises(claim.holds))}
        affinity = pinning.pinned(pod.affinity, claim.node)
        return Release(pod.namespace, pod.name, pod.uid, pod.version, GATE, affinity, annotations)

    async def _until_definite(self, release: Release) -> str:
        """PATCH until the API server has answered for certain; why it was not done, or nothing."""
        pause_s = self._first_retry_s
        while True:
            try:
                await self._cluster.release(release)
                return ""
            except errors.ConflictError as error:
                done = await self._done_before(release)
                if done is not None:
                    return "" if done else str(error)
            except (errors.NotFoundError, errors.RefusedError) as error:
                return str(error)
            except errors.TooManyRequestsError as error:
                pause_s = max(pause_s, error.retry_after_s)
            except errors.UnreachableError as error:
                _log.warning("release unconfirmed", pod=f"{release.namespace}/{release.name}", error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_RETRY_S, 2 * pause_s)

    async def _done_before(self, release: Release) -> bool | None:
        """Whether a conflict is our own success, whose reply was lost; None if the API server does not say."""
        try:
            return _is_result(await self._cluster.get_pod(release.namespace, release.name), release)
        except errors.NotFoundError:
            return False
        except (errors.UnreachableError, errors.TooManyRequestsError):
            return None

    def _settle(self, pod: QueuedPod, refusal: str) -> None:
        """Note what became of it, unless the pod itself has shown it already."""
        now = self._state.queue.get(pod.uid)
        if refusal:
            self._metrics.releases.labels("refused").inc()
            self._not_as[pod.uid] = pod.version
            _log.warning("release refused", pod=pod.title, uid=pod.uid, error=refusal)
            if now is not None and now.state is QueueState.HELD:
                self._state.give_back(pod.uid)
            return
        self._metrics.releases.labels("released").inc()
        _log.info("released", pod=pod.title, uid=pod.uid, node=pod.node)
        if now is not None and now.state is QueueState.HELD:
            self._state.queue.apply(pod.uid, QueueEvent.RELEASE)


def _is_result(pod: Pod, release: Release) -> bool:
    """Whether a pod is what this release would have made of it."""
    annotations = pod.metadata.annotations or {}
    return (
        pod.metadata.uid == release.uid
        and not pod.spec.scheduling_gates
        and all(annotations.get(key) == value for key, value in release.annotations.items())
    )
