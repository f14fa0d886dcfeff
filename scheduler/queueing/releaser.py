"""Releaser: one pod's release carried to a definite end: PATCH, and, if the reply is lost, again until the API server
has answered. Called by the cycle.

The place is claimed before the PATCH and stays so until it is certain that the pod does not have it. The PATCH is
guarded by UID and resourceVersion, so it happens once, whoever sends it how often. A nomination is a PATCH of its own,
before the other: the API server drops the status from a patch of the pod, and a scheduler looks at a pod as soon as its
gate is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from allocator import errors
from allocator.claims import contract, held, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.queueing import spare_places
from allocator.queueing.life import QueueEvent, QueueState
from allocator.queueing.queued_pod import GATE, QueuedPod
from allocator.queueing.release import QueueRelease
from config import fail_points
from kubeclient.objects import Pod
from scheduler import cooperative
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
        self,
        state: ClusterCache,
        cluster: Cluster,
        metrics: Metrics,
        *,
        way: QueueRelease = QueueRelease.PIN,
        first_retry_s: float = FIRST_RETRY_S,
        on_released: Callable[[QueuedPod], None] = lambda _: None,
        on_refused: Callable[[QueuedPod, str], None] = lambda _, __: None,
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._metrics = metrics
        self._way = way
        self._first_retry_s = first_retry_s
        self._on_released = on_released
        self._on_refused = on_refused
        self._calls = asyncio.Semaphore(CALLS)
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._unended: list[QueuedPod] = []  # whose attempt a defect has ended
        self._not_as: dict[str, str] = {}  # pods whose release was refused, by UID: at which version

    @property
    def idle(self) -> bool:
        """No release is on its way."""
        return not self._attempts

    def may_try(self, pod: QueuedPod) -> bool:
        """Whether a release can do anything: none is on its way, and none was refused of the pod as it is."""
        return pod.uid not in self._attempts and self._not_as.get(pod.uid) != pod.version

    def release(self, pod: QueuedPod) -> None:
        """Release a pod that holds a place, or one that asks for no slice."""
        attempt = asyncio.create_task(self._attempt(pod), name=f"release {pod.title}")
        self._attempts[pod.uid] = attempt
        attempt.add_done_callback(lambda done: self._ended(pod, done))

    def resume(self) -> None:
        """Release again what holds a place, and whose release died without an end: nobody else would."""
        unended, self._unended = self._unended, []
        for pod in unended:
            now = self._state.queue.get(pod.uid)
            if now is not None and now.state is QueueState.HELD and pod.uid not in self._attempts:
                self.release(now)

    def forget(self) -> None:
        """Forget refusals of pods that are not queued any more."""
        for uid in [uid for uid in self._not_as if uid not in self._state.queue]:
            del self._not_as[uid]

    async def step_down(self) -> None:
        """Another replica decides from now on: attempts are cut off, and places that were only held given back.

        A pod that was released all the same shows it.
        """
        await cooperative.cancel(self._attempts.values())
        for pod in [pod for pod in self._state.queue if pod.state is QueueState.HELD]:
            self._state.give_back(pod.uid)

    async def drain(self, timeout_s: float) -> int:
        """Wait for attempts in flight; how many are left without an end."""
        if not self._attempts:
            return 0
        _, left = await asyncio.wait(tuple(self._attempts.values()), timeout=timeout_s)
        for attempt in left:
            attempt.cancel()
        return len(left)

    def _ended(self, pod: QueuedPod, attempt: asyncio.Task[None]) -> None:
        self._attempts.pop(pod.uid, None)
        if not attempt.cancelled() and attempt.exception() is not None:
            _log.error("release failed", pod=pod.title, uid=pod.uid, exc_info=attempt.exception())
            self._unended.append(pod)

    async def _attempt(self, pod: QueuedPod) -> None:
        async with self._calls:
            await fail_points.pass_by("queue.held")
            try:
                release = self._release(pod)
                if release is None:
                    return
                if pod.node and self._way is QueueRelease.NOMINATE:
                    release = replace(release, version=await self._nominated(release, pod.node))
                    await fail_points.pass_by("queue.nominated")
                await self._released(release)
                refusal = ""
            except (errors.InputError, errors.RefusedError) as error:
                refusal = str(error)
            await fail_points.pass_by("queue.released")
            self._settle(pod, release.version if release is not None else pod.version, refusal)

    def _release(self, pod: QueuedPod) -> Release | None:
        """What is to be written in the pod; None if it is gone by now."""
        claim = self._state.inventory.ledger.get(pod.uid)
        if claim is None:
            if pod.request:
                return None
            return Release(pod.namespace, pod.name, pod.uid, pod.version, GATE, None, {})
        spares = self._spares(pod)
        text = placement_annotation.encode(held.promises(claim.holds), spares)
        annotations = {contract.PLACEMENT_ANNOTATION: text}
        affinity = pinning.pinned(pod.affinity, claim.node, tuple(spares)) if self.pins(pod) else None
        return Release(pod.namespace, pod.name, pod.uid, pod.version, GATE, affinity, annotations)

    def _spares(self, pod: QueuedPod) -> Mapping[str, Sequence[Promise]]:
        """What the pod is promised on further nodes, by node."""
        claims = (self._state.inventory.ledger.get(spare_places.claim_of(pod.uid, node)) for node in pod.spares)
        return {claim.node: held.promises(claim.holds) for claim in claims if claim is not None}

    def pins(self, pod: QueuedPod) -> bool:
        """Whether the pod's affinity is to name the node: nothing else would, to a scheduler that does not ask us."""
        return self._way is QueueRelease.PIN or (self._way is QueueRelease.EXTENDER and not self._asks_us(pod))

    def may_have_spares(self, pod: QueuedPod) -> bool:
        """Whether several nodes can be named to its scheduler: one that asks our extender is offered one node."""
        return self.pins(pod) and not self._asks_us(pod)

    def _asks_us(self, pod: QueuedPod) -> bool:
        known = self._state.pods.get(pod.uid)
        return known is not None and self._state.waiting.is_ours(known.scheduling.scheduler)

    async def _nominated(self, release: Release, node: str) -> str:
        """The pod's version once its status names the node. Raises RefusedError where it certainly does not."""

        def seen(pod: Pod) -> str | None:
            is_done = pod.metadata.uid == release.uid and pod.status.nominated_node_name == node
            return pod.metadata.resource_version if is_done else None

        return await self._until_definite(release, lambda: self._cluster.nominate(release, node), seen)

    async def _released(self, release: Release) -> None:
        """The gate gone, for certain. Raises RefusedError where it is certainly there, or the pod is not."""

        async def write() -> str:
            await self._cluster.release(release)
            return ""

        await self._until_definite(release, write, lambda pod: "" if _is_result(pod, release) else None)

    async def _until_definite(
        self, release: Release, write: Callable[[], Awaitable[str]], seen: Callable[[Pod], str | None]
    ) -> str:
        """PATCH until the API server has answered for certain. A conflict may be our own success, whose reply was lost:
        then the pod is `seen` as it would have made it.
        """
        pause_s = self._first_retry_s
        while True:
            try:
                return await write()
            except errors.ConflictError as error:
                pod = await self._as_it_is(release)
                if pod is not None:
                    result = seen(pod)
                    if result is None:
                        raise errors.RefusedError(str(error)) from error
                    return result
            except errors.NotFoundError as error:
                raise errors.RefusedError(str(error)) from error
            except errors.TooManyRequestsError as error:
                pause_s = max(pause_s, error.retry_after_s)
            except errors.UnreachableError as error:
                _log.warning("release unconfirmed", pod=f"{release.namespace}/{release.name}", error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_RETRY_S, 2 * pause_s)

    async def _as_it_is(self, release: Release) -> Pod | None:
        """The pod, from the API server itself; None if that does not say. Raises RefusedError if it is gone."""
        try:
            return await self._cluster.get_pod(release.namespace, release.name)
        except errors.NotFoundError as error:
            raise errors.RefusedError(str(error)) from error
        except (errors.UnreachableError, errors.TooManyRequestsError):
            return None

    def _settle(self, pod: QueuedPod, version: str, refusal: str) -> None:
        """Note what became of it, tried at a version, unless the pod itself has shown it already."""
        now = self._state.queue.get(pod.uid)
        if refusal:
            self._metrics.releases.labels("refused").inc()
            self._not_as[pod.uid] = version
            _log.warning("release refused", pod=pod.title, uid=pod.uid, error=refusal)
            if now is not None and now.state is QueueState.HELD:
                self._state.queue.kept.keep(now, self._state.inventory.ledger.get(pod.uid), refused=True)
                self._state.give_back(pod.uid)
                self._on_refused(pod, refusal)
            return
        self._metrics.releases.labels("released").inc()
        _log.info("released", pod=pod.title, uid=pod.uid, node=pod.node, spares=pod.spares)
        self._on_released(pod)
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
