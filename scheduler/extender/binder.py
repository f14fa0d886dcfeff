"""One Binding carried to a definite end: reserve, POST, and, if the reply is lost, again until the API server has
answered.

Called by the extender. Between the POST and a definite answer the claim stays RESERVED, so no other pod gets its
place; kube-scheduler may meanwhile time out and ask again, and then joins the same attempt.
"""

import asyncio

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from allocator import errors
from allocator.claims import contract, held, placement_annotation
from allocator.claims.ledger import ClaimState
from allocator.claims.placement_annotation import Promise
from allocator.claims.refusal import Refusal
from allocator.placement.misfit import Misfit, Reason
from config import fail_points
from kubeclient.objects import Pod
from scheduler.cache import pods
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.cache.port import Binding, Cluster
from scheduler.extender.nominated_room import NominatedRoom
from scheduler.extender.nominations import Nominations
from scheduler.metrics import Metrics

_log = structlog.get_logger("binder")
FIRST_RETRY_S = 0.1
MAX_RETRY_S = 2.0
_UNSETTLED = (errors.UnreachableError, errors.TooManyRequestsError)


class Binder:
    """Binds pods, several at once, one attempt per pod."""

    def __init__(
        self,
        state: ClusterCache,
        cluster: Cluster,
        nominations: Nominations,
        metrics: Metrics,
        *,
        timeout_s: float,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._nominations = nominations
        self._nominated_room = NominatedRoom(state)
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._first_retry_s = first_retry_s
        self._backoff_s = wait_exponential_jitter(multiplier=2 * first_retry_s, max=MAX_RETRY_S, jitter=first_retry_s)
        self._log = _log.bind()  # put together once, not for each line
        self._bound = metrics.decisions.labels("bind", "bound", "")
        self._attempts: dict[str, asyncio.Task[Refusal | None]] = {}

    async def bind(self, namespace: str, name: str, uid: str, node: str) -> Refusal | None:
        """Bind a pod to a node, or say why not.

        Answers within the time limit: an attempt that has no definite end by then goes on, and so does its
        reservation.
        """
        claim = self._state.inventory.ledger.get(uid)
        if claim is not None and claim.node != node:
            return Refusal(f"pod holds slices on {claim.node}")
        if claim is not None and claim.state is not ClaimState.RESERVED:
            return None
        attempt = self._attempts.get(uid)
        if attempt is None:
            attempt = asyncio.create_task(self._attempt(namespace, name, uid, node), name=f"bind {namespace}/{name}")
            self._attempts[uid] = attempt
            attempt.add_done_callback(lambda _: self._attempts.pop(uid, None))
        done, _ = await asyncio.wait((attempt,), timeout=self._timeout_s)
        if not done:
            self._metrics.decisions.labels("bind", "unconfirmed", "").inc()
            return Refusal(f"the API server has not confirmed binding to {node} yet; its place stays reserved")
        if attempt.cancelled():
            return Refusal("another replica decides by now")
        return attempt.result()

    async def step_down(self) -> None:
        """Another replica decides from now on: attempts are cut off, and what they reserved is not ours to keep.

        A Binding that was made all the same is shown by its pod.
        """
        attempts = dict(self._attempts)
        for attempt in attempts.values():
            attempt.cancel()
        await asyncio.gather(*attempts.values(), return_exceptions=True)
        for uid in attempts:
            self._state.refuse(uid)

    async def drain(self, timeout_s: float) -> int:
        """Wait for attempts in flight; how many are left without an end."""
        if not self._attempts:
            return 0
        _, left = await asyncio.wait(tuple(self._attempts.values()), timeout=timeout_s)
        for attempt in left:
            attempt.cancel()
        return len(left)

    async def _attempt(self, namespace: str, name: str, uid: str, node: str) -> Refusal | None:
        try:
            promises = await self._reserve(namespace, name, uid, node)
        except errors.MigschedError as error:
            return self._refused("error", "unknown_pod", Refusal(str(error)))
        finally:
            self._nominations.forget(uid)
        if isinstance(promises, Misfit):
            return self._refused("misfit", promises.reason.value, Refusal(promises.message))
        await fail_points.pass_by("binder.reserved")
        annotations = {contract.PLACEMENT_ANNOTATION: placement_annotation.encode(promises)} if promises else {}
        refusal = await self._until_definite(Binding(namespace, name, uid, node, annotations))
        await fail_points.pass_by("binder.bound")
        if refusal is not None:
            self._state.refuse(uid)
            return self._refused("error", "refused", refusal)
        self._confirm(uid)
        slices = [f"{promise.gpu}:{promise.profile}@{promise.start}" for promise in promises]
        self._log.info("bound", pod=f"{namespace}/{name}", uid=uid, node=node, slices=slices)
        self._bound.inc()
        return None

    async def _reserve(self, namespace: str, name: str, uid: str, node: str) -> tuple[Promise, ...] | Misfit:
        """The places that the pod gets, claimed; none if it asks for nothing of ours."""
        known = await self._known(namespace, name, uid)
        if known is None or not known.request:
            return ()
        left = self._nominated_room.left(known, node)
        claim = self._state.inventory.reserve(uid, namespace, name, known.request, node, left)
        if isinstance(claim, Misfit):
            is_reserved = claim.reason is Reason.NOMINATED and self._nominated_room.is_reserved(known, node)
            return Misfit(Reason.RESERVATION, claim.request) if is_reserved else claim
        return held.promises(claim.holds)

    async def _known(self, namespace: str, name: str, uid: str) -> KnownPod | None:
        """What is known of the pod: from the cache, or from the API server if bind came before the watch; None if it
        asks for nothing of ours.
        """
        known = self._state.pods.get(uid)
        if known is None:
            pod = await self._cluster.get_pod(namespace, name)
            if pod.metadata.uid != uid:
                raise errors.ConflictError(f"{namespace}/{name} is another pod by now ({pod.metadata.uid})")
            if not pods.is_ours(pod):
                return None
            known = self._state.remember(pod)
        if known.request is None:
            raise errors.RequestError(f"{namespace}/{name}", uid, known.problem)
        return known

    async def _until_definite(self, binding: Binding) -> Refusal | None:
        """POST the Binding until the API server has answered for certain."""
        try:
            return await self._while_busy(binding)
        except errors.UnreachableError:  # only now is the machinery of retries worth its cost
            await asyncio.sleep(self._first_retry_s)
            again = AsyncRetrying(retry=retry_if_exception_type(_UNSETTLED), wait=self._next_wait_s)
            return await again(self._post, binding)

    def _next_wait_s(self, attempts: RetryCallState) -> float:
        """Seconds until the next attempt: longer each time, and not before a busy API server is free."""
        error = attempts.outcome.exception() if attempts.outcome else None
        at_least = error.retry_after_s if isinstance(error, errors.TooManyRequestsError) else 0.0
        return max(at_least, self._backoff_s(attempts))

    async def _while_busy(self, binding: Binding) -> Refusal | None:
        """POST the Binding; while the API server is too busy to take it, again when it says, within the time limit.

        Each of these refusals is certain, so that the last of them ends the attempt. Returns and raises as `_post`.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self._timeout_s
        while True:
            try:
                return await self._post(binding)
            except errors.TooManyRequestsError as error:
                if clock() + error.retry_after_s > until:
                    return Refusal(str(error))
                await asyncio.sleep(error.retry_after_s)

    async def _post(self, binding: Binding) -> Refusal | None:
        """POST the Binding once. Raises UnreachableError without an answer, TooManyRequestsError if it certainly was
        not done.
        """
        try:
            await self._cluster.bind(binding)
        except errors.ConflictError as error:
            return await self._after_conflict(binding, error)
        except (errors.NotFoundError, errors.RefusedError) as error:
            return Refusal(str(error))
        return None

    async def _after_conflict(self, binding: Binding, error: errors.ConflictError) -> Refusal | None:
        """A conflict may be our own success, whose reply was lost: the pod itself says."""
        try:
            pod = await self._cluster.get_pod(binding.namespace, binding.name)
        except errors.NotFoundError:
            return Refusal(f"pod {binding.namespace}/{binding.name} is gone")
        except errors.TooManyRequestsError as busy:  # the question was not answered, so the Binding may still be ours
            raise errors.UnreachableError(str(busy)) from busy
        return None if _is_result(pod, binding) else Refusal(str(error))

    def _confirm(self, uid: str) -> None:
        claim = self._state.inventory.ledger.get(uid)
        if claim is not None and claim.state is ClaimState.RESERVED:
            self._state.inventory.confirm(uid)

    def _refused(self, outcome: str, reason: str, refusal: Refusal) -> Refusal:
        self._metrics.decisions.labels("bind", outcome, reason).inc()
        return refusal


def _is_result(pod: Pod, binding: Binding) -> bool:
    """Whether a pod is what this Binding would have made of it."""
    key = contract.PLACEMENT_ANNOTATION
    return (
        pod.metadata.uid == binding.uid
        and pod.spec.node_name == binding.node
        and (pod.metadata.annotations or {}).get(key) == binding.annotations.get(key)
    )
