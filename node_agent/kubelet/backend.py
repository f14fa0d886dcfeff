"""AgentBackend: the answers to the kubelet, as device plugins ask for them: allocation, with patience and a deadline.

The kubelet has no deadline for Allocate and admits no other pod meanwhile, and its watch may be ahead of the agent's.
So pods are asked for before a preference is given, and an Allocate is tried again until it succeeds, is hopeless, or
its deadline has passed. Made by service; `kubelet.plugins` calls it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from allocator import errors
from allocator.mig.profile import WHOLE_GPU
from node_agent.allocation import Allocation, AllocationError
from node_agent.cluster.pod_watch import PodWatch
from node_agent.containers import cdi
from node_agent.containers.inject import Inject
from node_agent.kubelet.device_calls import DeviceCalls
from node_agent.kubelet.plugin import AllocateResponse
from node_agent.metrics import Metrics
from node_agent.slices import device_ids
from node_agent.slices.journal import JournalError
from node_agent.slices.offer import DeviceOffer
from node_agent.state import AgentState, AllocateRefusal
from node_agent.step_signal import StepSignal

_RETRY_S = 0.1  # between two attempts at one Allocate, each of which reads whole GPUs
_FIRST_RETRY_S = 0.005  # and after the first, whose trouble mostly is over with the next step
_REFRESH_S = 1.0  # a kubelet waits for it
_DEVICE_LIST = "/var/run/nvidia-container-devices"  # where NVIDIA's runtime looks for a list of devices
_log = structlog.get_logger("backend")


class AgentBackend:
    """A DeviceBackend over the agent. `inject` is how containers get their devices."""

    def __init__(
        self,
        allocation: Allocation,
        state: AgentState,
        pods: PodWatch,
        signal: StepSignal,
        metrics: Metrics,
        calls: DeviceCalls,
        *,
        timeout_s: float,
        inject: Inject,
    ) -> None:
        self._allocation = allocation
        self._state = state
        self._pods = pods
        self._signal = signal
        self._metrics = metrics
        self._calls = calls
        self._timeout_s = timeout_s
        self._inject = inject

    async def offers(self) -> Mapping[str, Mapping[str, DeviceOffer]]:
        """See DeviceBackend."""
        return await asyncio.to_thread(self._allocation.offers)

    async def prefer(self, resource: str, available: Sequence[str], must: Sequence[str], size: int) -> Sequence[str]:
        """See DeviceBackend. Asks for the pods' newest state first: the kubelet may be ahead of our watch."""
        with self._calls.running():
            await self._catch_up(resource, frozenset(available), size - len(must))
            return await asyncio.to_thread(self._allocation.prefer, resource, available, must, size)

    async def allocate(self, resource: str, ids: Sequence[str]) -> AllocateResponse:
        """See DeviceBackend. Tried until it succeeds, is hopeless, or the deadline has passed."""
        with self._calls.running():
            return await self._allocate(resource, ids)

    async def _allocate(self, resource: str, ids: Sequence[str]) -> AllocateResponse:
        loop = asyncio.get_running_loop()
        began = loop.time()
        until = began + self._timeout_s
        blocker = "the driver is slow"
        pause = _FIRST_RETRY_S
        while True:
            try:
                edits = await self._attempt(resource, ids, until, blocker)
            except (AllocationError, JournalError, cdi.CdiError) as error:
                blocker = str(error)
                retryable = getattr(error, "retryable", False)
                if not retryable or loop.time() + pause >= until:
                    self._refused(resource, error, loop.time() - began)
                    raise
                with self._calls.waiting():
                    await self._signal.next_step(max(min(until - loop.time(), 1.0), _RETRY_S))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY_S)
                continue
            self._metrics.allocate_seconds.labels("ok").observe(loop.time() - began)
            self._signal.request()
            return response(self._inject, resource, ids, edits)

    async def _attempt(self, resource: str, ids: Sequence[str], until: float, blocker: str) -> cdi.Edits:
        """One attempt, given up at the deadline. Its thread goes on: what it still makes is taken back as unowned."""
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.to_thread(self._allocation.allocate, resource, ids)
        except TimeoutError as error:
            raise AllocationError(f"{', '.join(ids)} not ready within {self._timeout_s:g} s: {blocker}") from error

    def _refused(self, resource: str, error: errors.MigschedError, after_s: float) -> None:
        self._metrics.allocate_seconds.labels("refused").observe(after_s)
        self._state.on_refusal(AllocateRefusal(resource, f"the kubelet could not be given {resource}: {error}"))
        self._signal.request()

    async def _catch_up(self, resource: str, available: frozenset[str], size: int) -> None:
        """Be as far as the kubelet: its watch may have shown it the pod in question before ours did."""
        if resource == WHOLE_GPU:
            return
        self._state.on_pods(self._pods.views(), self._pods.listed_at)
        if await asyncio.to_thread(self._allocation.expects, resource, available, size):
            return
        try:
            async with asyncio.timeout(_REFRESH_S):
                await self._pods.refresh()
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("cannot ask for pods", error=str(error))
        self._state.on_pods(self._pods.views(), self._pods.listed_at)


def response(inject: Inject, resource: str, ids: Sequence[str], edits: cdi.Edits) -> AllocateResponse:
    """What the kubelet is told for a container that gets these devices. docs/containers.md has what becomes of it."""
    if inject.by_name and resource != WHOLE_GPU:
        return AllocateResponse(cdi=(cdi.qualified(device_ids.set_name(ids)),))
    ours = {cdi.OURS: edits.uuids}
    if inject is Inject.CDI and edits.common is not None:
        return AllocateResponse(cdi=tuple(map(cdi.qualified_gpu, ids)), env=ours)
    if inject is Inject.MOUNTS:
        mounts = tuple(f"{_DEVICE_LIST}/{uuid}" for uuid in edits.visible)
        return AllocateResponse(env={**ours, cdi.NVIDIA: _DEVICE_LIST}, null_mounts=mounts)
    nodes = () if inject is Inject.RUNTIME else edits.nodes
    existing = tuple(node.path for node in nodes if Path(node.path).exists())
    return AllocateResponse(env={**ours, cdi.NVIDIA: edits.uuids}, nodes=existing)
