"""StepLoop: makes a step on every change and every few seconds, and judges what surrounds the agent. Run by service.

Before a step the kubelet is asked for its newest listing. After it the outcome is reported, not ready where the kubelet
is silent or another program manages the GPUs too.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import structlog

from allocator import errors
from allocator.mig.profile import GpuPlacement
from config import fail_points
from node_agent.cluster import coexistence
from node_agent.cluster.pod_watch import PodWatch
from node_agent.gpu import device
from node_agent.kubelet.channel import KubeletError
from node_agent.kubelet.checkpoint import Checkpoint
from node_agent.kubelet.device_calls import DeviceCalls
from node_agent.kubelet.plugins import Plugins
from node_agent.kubelet.pod_resources import PodResources
from node_agent.metrics import Metrics
from node_agent.reconciler import Reconciler
from node_agent.report import ReadyReason, StepOutcome
from node_agent.reporter import Reporter
from node_agent.state import AgentState
from node_agent.step_signal import StepSignal
from node_agent.usage import SliceUsage

_EVENT_WAIT_S = 1.0
_REFRESH_S = 1.0
_URGENT_S = 0.05  # a container's sandbox takes longer
_log = structlog.get_logger("loop")


class StepLoop:
    """The steps of one agent. `poll_s` is the longest time between two, `registry` where DRA drivers register and
    `plugin_directory` where device plugins do. `unfit` says why containers would start without their GPUs.
    """

    def __init__(
        self,
        state: AgentState,
        reconciler: Reconciler,
        pods: PodWatch,
        pod_resources: PodResources,
        plugins: Plugins,
        reporter: Reporter,
        signal: StepSignal,
        metrics: Metrics,
        calls: DeviceCalls,
        *,
        poll_s: float,
        registry: Path,
        plugin_directory: Path,
        unfit: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._state = state
        self._reconciler = reconciler
        self._pods = pods
        self._pod_resources = pod_resources
        self._plugins = plugins
        self._reporter = reporter
        self._signal = signal
        self._metrics = metrics
        self._calls = calls
        self._poll_s = poll_s
        self._registry = registry
        self._plugin_directory = plugin_directory
        self._unfit = unfit
        self._checkpoint = Checkpoint(plugin_directory)
        self._kubelet_trouble: str | None = None
        self._reported: StepOutcome | None = None
        self._usage = SliceUsage(self._pids, metrics, state.clock)

    async def run(self) -> None:
        """Until cancelled."""
        urgent = False
        while True:
            await self._signal.wait_for_request(min(self._poll_s, _URGENT_S) if urgent else self._poll_s)
            urgent = await self.step()

    async def step(self) -> bool:
        """One step with the kubelet's newest listing; whether the next one is urgent."""
        if self._state.wants_pods:
            await self._refresh_pods()
        await self._calls.quiet()
        try:
            listing = await self._pod_resources.list()
            self._state.on_listing(dataclasses.replace(listing, assigned=self._checkpoint.read()))
            self._kubelet_trouble = None
        except KubeletError as error:
            self._kubelet_trouble = str(error)
        self._state.on_pods(self._pods.views(), self._pods.listed_at)
        conflict = self.conflict()
        await fail_points.pass_by("agent.step")
        outcome = await asyncio.to_thread(self._reconciler.step)
        judged = self._with_surroundings(outcome, conflict)
        self._report(dataclasses.replace(judged, report=self._usage.told(judged.report)))
        self._metrics.ready.set(judged.ready)
        self._metrics.registered.set(len(self._plugins.registered))
        self._plugins.notify()
        await self._signal.done()
        self._usage.account(outcome.report)
        if self._usage.is_due and not outcome.urgent:
            await asyncio.to_thread(self._usage.look, outcome.report)
        return outcome.urgent

    def _pids(self, place: GpuPlacement) -> tuple[int, ...] | None:
        with self._state.lock:
            return self._state.pids(place)

    async def _refresh_pods(self) -> None:
        """A slice is free if a pod that is not known does not exist: a list tells, if it is younger than the slice."""
        self._state.wants_pods = False
        try:
            async with asyncio.timeout(_REFRESH_S):
                await self._pods.refresh()
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("cannot ask for pods", error=str(error))

    async def follow_driver(self) -> None:
        """Driver events, waited for in a thread, until cancelled; a driver without events leaves the poll."""
        while True:
            try:
                events = await asyncio.to_thread(self._state.devices.wait, _EVENT_WAIT_S)
            except device.DeviceError as error:
                _log.warning("no driver events", error=str(error))
                await asyncio.sleep(self._state.options.retry_s)
                continue
            if events:
                self._state.on_events(events)
                self._signal.request()

    def conflict(self) -> str | None:
        """What else manages this node's GPUs, in words; None if nothing does."""
        return coexistence.conflict(self._pods.rivals(), self._registry, self._plugin_directory)

    async def has_slices(self) -> bool:
        """Whether a container has a slice of ours, as far as journal and PodResources tell."""
        with contextlib.suppress(KubeletError):
            self._state.on_listing(await self._pod_resources.list())
        return await asyncio.to_thread(self._has_slices)

    def _has_slices(self) -> bool:
        with self._state.lock:
            self._state.ingest()
            observation = self._state.observe()
            return bool(observation.held) or any(observation.place(id_) is not None for _, id_ in observation.holders)

    def _report(self, outcome: StepOutcome) -> None:
        """Have it reported if it is news: encoding a full node takes longer than comparing it."""
        if outcome.events or outcome != self._reported:
            self._reported = outcome
            self._reporter.report(outcome)

    def _with_surroundings(self, outcome: StepOutcome, conflict: str | None) -> StepOutcome:
        """The outcome, not ready where another program serves the GPUs too or the kubelet is silent."""
        if not outcome.ready or self._state.options.observer:
            return outcome
        if conflict is not None:
            return _not_ready(outcome, ReadyReason.CONFLICTING_MANAGER, conflict)
        unfit = self._unfit()
        if unfit is not None:
            return _not_ready(outcome, ReadyReason.RUNTIME_UNFIT, unfit)
        if self._kubelet_trouble is not None:
            message = f"{self._kubelet_trouble}; slices are not freed meanwhile"
            return _not_ready(outcome, ReadyReason.NO_POD_RESOURCES, message)
        return outcome


def _not_ready(outcome: StepOutcome, reason: ReadyReason, message: str) -> StepOutcome:
    return dataclasses.replace(outcome, ready=False, reason=reason, message=message, urgent=False)
