"""Wires the node agent: memory, step, device plugins, reports, metrics. `run` is what `migsched agent` calls.

One event loop for everything that talks; the step and the answers to the kubelet block on the driver and run in
threads, one at a time under the memory's lock. Order of starting: the journal and the GPUs are read, pods and
PodResources are asked once, a first step restores what containers have, and only then are devices registered: a
rebooted kubelet that gets devices before their slices stand would start containers without them.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from allocator import errors
from config import logs
from config.version import version
from kubeclient.objects import Pod
from node_agent import process_tuning, report, serving
from node_agent.allocation import Allocation, AllocationError
from node_agent.cluster import coexistence, pods
from node_agent.cluster.kube import KubeClient
from node_agent.cluster.labels import Labels
from node_agent.cluster.pods import PodView
from node_agent.cluster.port import Cluster
from node_agent.containers import cdi
from node_agent.gpu import device, selection
from node_agent.inform import Pods, Reporter, now
from node_agent.kubelet.channel import KubeletError
from node_agent.kubelet.plugin import AllocateResponse
from node_agent.kubelet.plugins import Plugins
from node_agent.kubelet.pod_resources import PodResources
from node_agent.metrics import Metrics
from node_agent.reconciler import Reconciler
from node_agent.report import ReadyReason, StepOutcome
from node_agent.settings import Settings
from node_agent.slices import device_ids
from node_agent.slices.journal import Journal, JournalError
from node_agent.slices.journal_file import FileStore
from node_agent.state import AgentOptions, AgentState

JOURNAL = "journal.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_EVENT_WAIT_S = 1.0
_FIRST_WAIT_S = 10.0  # for pods and PodResources before the first step; the API server may be away
_RETRY_S = 0.1  # between two attempts at one Allocate, each of which looks at whole GPUs
_FIRST_RETRY_S = 0.005  # and after the first, whose trouble mostly is over with the next step
_URGENT_S = 0.05  # a container's sandbox takes longer
_REFRESH_S = 1.0  # a kubelet waits for it
_log = structlog.get_logger("service")


class Service:
    """One agent. `simulated` says that the GPUs are not there, so that neither are their device nodes.

    `loaded` is called once everything is there and the kubelet does not wait for us yet.
    """

    def __init__(
        self,
        settings: Settings,
        devices: device.MigDevices,
        cluster: Cluster,
        *,
        boot: str,
        simulated: bool = False,
        loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._loaded = loaded
        self.metrics = Metrics()
        options = AgentOptions(
            grace_s=settings.grace_s,
            retry_s=settings.retry_s,
            manage_mig_mode=selection.parse(settings.manage_mig_mode),
            observer=settings.observer,
            real_nodes=not simulated,
        )
        journal = Journal(FileStore(settings.state_dir / JOURNAL), boot)
        self.state = AgentState(settings.node, devices, journal, self.metrics, options)
        specs = cdi.Specs(settings.cdi_dir) if settings.inject == "cdi" else None
        self.agent = Reconciler(self.state, specs, self.metrics)
        self._allocation = Allocation(self.state, self.agent, specs)
        self._pods = Pods(cluster, settings.node, self.wake)
        role = "observer" if settings.observer else "simulated" if simulated else "managed"
        self._reporter = Reporter(
            cluster, settings.node, version=version(), mode=role, interval_s=settings.report_interval_s
        )
        self._pod_resources = PodResources(settings.pod_resources_socket)
        self.plugins = Plugins(self, settings.device_plugin_dir)
        self.health = serving.Health(self._waits_for)
        self._wake = asyncio.Event()
        self._stepped = asyncio.Condition()
        self._kubelet_trouble = ""
        self._conflict = ""
        self._reported: StepOutcome | None = None
        self._viewed: dict[str, tuple[Pod, PodView | None]] = {}
        self._refusals: list[tuple[str, str]] = []  # to be told to pods with the next step

    def wake(self) -> None:
        """Something changed: step soon."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Raises JournalError if the journal cannot be used, SettingsError beside a rival."""
        try:
            await self._run()
        finally:
            await self._pod_resources.close()

    async def _run(self) -> None:
        await asyncio.to_thread(self.agent.start)
        _log.info("started", node=self._settings.node, gpus=len(self.state.view.gpus))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run(), name="pods")
            group.create_task(self.health.run(), name="health")
            group.create_task(self._reporter.run(), name="report")
            group.create_task(self._follow_driver(), name="driver events")
            await self._first_look()
            self._refuse_beside_conflict()
            await self._step()
            self._loaded()
            if not self._settings.observer:
                group.create_task(self.plugins.run(), name="plugins")
            group.create_task(self._steps(), name="steps")
            if self._settings.manage_operator_labels:
                group.create_task(Labels(self._cluster, self._settings.node).run(), name="labels")

    def _waits_for(self) -> str:
        """What is missing until containers have their slices again and new ones can get some, in words."""
        if not self._reporter.heard:
            return "the first step"
        missing = frozenset() if self._settings.observer else self.plugins.missing
        if missing is None:
            return "the kubelet's device plugin directory"
        return f"the kubelet to register {', '.join(sorted(missing))}" if missing else ""

    # What the device plugins ask

    async def offers(self) -> Mapping[str, Mapping[str, bool]]:
        """See kubelet.plugin.Answers."""
        return await asyncio.to_thread(self._allocation.offers)

    async def prefer(self, resource: str, available: Sequence[str], must: Sequence[str], size: int) -> Sequence[str]:
        """See kubelet.plugin.Answers. Asks for the pods' newest state first: the kubelet may be ahead of our watch."""
        await self._catch_up(resource, frozenset(available), size - len(must))
        return await asyncio.to_thread(self._allocation.prefer, resource, available, must, size)

    async def allocate(self, resource: str, ids: Sequence[str]) -> AllocateResponse:
        """See kubelet.plugin.Answers. Tried until it succeeds, is hopeless, or the deadline has passed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        until = began + self._settings.allocate_timeout_s
        blocker = "the driver is slow"
        pause = _FIRST_RETRY_S
        while True:
            try:
                edits = await self._attempt(resource, ids, until, blocker)
            except (AllocationError, JournalError, cdi.CdiError) as error:
                blocker = str(error)
                retryable = getattr(error, "retryable", False)
                if not retryable or loop.time() + pause >= until:
                    self._allocation_refused(resource, error, loop.time() - began)
                    raise
                await self._next_step(min(until - loop.time(), 1.0))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY_S)
                continue
            self.metrics.allocate_seconds.labels("ok").observe(loop.time() - began)
            self.wake()
            return self._given(resource, ids, edits)

    async def _attempt(self, resource: str, ids: Sequence[str], until: float, blocker: str) -> cdi.Edits:
        """One attempt, given up at the deadline. Its thread goes on: what it still makes is taken back as unowned."""
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.to_thread(self._allocation.allocate, resource, ids)
        except TimeoutError as error:
            limit = self._settings.allocate_timeout_s
            raise AllocationError(f"{', '.join(ids)} not ready within {limit:g} s: {blocker}") from error

    def _allocation_refused(self, resource: str, error: errors.MigschedError, seconds: float) -> None:
        self.metrics.allocate_seconds.labels("refused").observe(seconds)
        self._refusals.append((resource, f"the kubelet could not be given {resource}: {error}"))
        self.wake()

    def _given(self, resource: str, ids: Sequence[str], edits: cdi.Edits) -> AllocateResponse:
        if resource != device_ids.WHOLE_GPU and self._settings.inject == "cdi":
            return AllocateResponse(cdi=(cdi.qualified(device_ids.set_name(ids)),))
        existing = tuple(one.path for one in edits.nodes if Path(one.path).exists())
        return AllocateResponse(env={cdi.VISIBLE: edits.env}, nodes=existing)

    async def _next_step(self, timeout_s: float) -> None:
        """Until the next step is done: what was in the way may be gone then."""
        self.wake()
        async with self._stepped:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(timeout_s, _RETRY_S)):
                    await self._stepped.wait()

    async def _catch_up(self, resource: str, available: frozenset[str], size: int) -> None:
        """Be as far as the kubelet: its watch may have shown it the pod in question before ours did."""
        if resource == device_ids.WHOLE_GPU:
            return
        self._tell_pods()
        if await asyncio.to_thread(self._allocation.expects, resource, available, size):
            return
        try:
            async with asyncio.timeout(_REFRESH_S):
                await self._pods.refresh()
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("cannot ask for pods", error=str(error))
        self._tell_pods()

    def _tell_pods(self) -> None:
        if self._pods.synced.is_set():
            self.state.on_pods(self._views())

    # Stepping

    async def _first_look(self) -> None:
        try:
            async with asyncio.timeout(_FIRST_WAIT_S):
                await self._pods.synced.wait()
        except TimeoutError:
            _log.warning("the API server does not answer; going on with the journal and PodResources")

    def _refuse_beside_conflict(self) -> None:
        if not self._settings.observer:
            found = coexistence.conflict(self._pods.all.values(), self._settings.plugin_registry_dir)
            if found:
                raise errors.SettingsError("node", self._settings.node, f"{found}, or run with --observe")

    async def _steps(self) -> None:
        urgent = False
        while True:
            pause = min(self._settings.poll_s, _URGENT_S) if urgent else self._settings.poll_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            urgent = await self._step()

    async def _step(self) -> bool:
        """One step with the kubelet's newest listing; whether the next one is urgent."""
        try:
            self.state.on_listing(await self._pod_resources.list())
            self._kubelet_trouble = ""
        except KubeletError as error:
            self._kubelet_trouble = str(error)
        self._tell_pods()
        self._conflict = coexistence.conflict(self._pods.all.values(), self._settings.plugin_registry_dir)
        refusals, self._refusals = self._refusals, []
        outcome = await asyncio.to_thread(self._report_refusals_and_step, refusals)
        self._report(self._with_surroundings(outcome))
        self.metrics.registered.set(len(self.plugins.registered))
        self.plugins.notify()
        async with self._stepped:
            self._stepped.notify_all()
        return outcome.urgent

    def _report(self, outcome: StepOutcome) -> None:
        """Have it reported if it is news: encoding a full node takes longer than looking at it."""
        if outcome.events or outcome != self._reported:
            self._reported = outcome
            self._reporter.report(outcome)

    def _report_refusals_and_step(self, refusals: Sequence[tuple[str, str]]) -> StepOutcome:
        for resource, why in refusals:
            self._allocation.refused(resource, why)
        return self.agent.step()

    def _with_surroundings(self, outcome: StepOutcome) -> StepOutcome:
        """The outcome, not ready where the kubelet is silent or somebody else serves the GPUs too."""
        if not outcome.ready or self._settings.observer:
            return outcome
        if self._conflict:
            return StepOutcome(
                outcome.report, False, ReadyReason.CONFLICTING_MANAGER, self._conflict, outcome.events, outcome.leaks
            )
        if self._kubelet_trouble:
            message = f"{self._kubelet_trouble}; slices are not freed meanwhile"
            return StepOutcome(
                outcome.report, False, ReadyReason.NO_POD_RESOURCES, message, outcome.events, outcome.leaks
            )
        return outcome

    def _views(self) -> dict[str, PodView]:
        """The node's pods that ask for slices; only changed ones are read anew."""
        last = self._viewed
        self._viewed = {
            uid: last[uid] if uid in last and last[uid][0] is pod else (pod, pods.view(pod))
            for uid, pod in self._pods.all.items()
        }
        return {uid: view for uid, (_, view) in self._viewed.items() if view is not None}

    async def _follow_driver(self) -> None:
        """Driver events, waited for in a thread; a driver without events leaves the poll."""
        while True:
            try:
                events = await asyncio.to_thread(self.state.devices.wait, _EVENT_WAIT_S)
            except device.DeviceError as error:
                _log.warning("no driver events", error=str(error))
                await asyncio.sleep(self._settings.retry_s)
                continue
            if events:
                self.state.on_events(events)
                self.wake()


def boot_id() -> str:
    """Which running of the kernel this is. No GPU instance outlives it."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError as error:
        raise errors.SettingsError("boot id", str(BOOT_ID), f"cannot be read: {error.strerror}") from error


def observe(devices: device.MigDevices, node: str) -> dict[str, Any]:
    """One look at the GPUs, changing nothing: an observer's MigNode status. What cannot be seen is said in it."""
    unused = Journal(FileStore(Path(JOURNAL)), boot="")  # an observer neither reads nor writes it
    metrics = Metrics()
    state = AgentState(node, devices, unused, metrics, AgentOptions(observer=True))
    outcome = Reconciler(state, None, metrics).step()
    return report.status(outcome, version=version(), mode="observer", since=now())


async def run(
    settings: Settings, devices: Callable[[], device.MigDevices], *, boot: str, simulated: bool = False
) -> None:
    """The agent on a real node, until SIGTERM or SIGINT. What runs in containers goes on without it."""
    logs.configure(settings.log_format, settings.log_level)
    process_tuning.shorten_switch_interval()
    cluster = await KubeClient.connect(settings.kubeconfig)
    made = devices()
    service = Service(settings, made, cluster, boot=boot, simulated=simulated, loaded=process_tuning.release_memory)
    task = asyncio.create_task(service.run(), name="agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        with serving.serve(settings.metrics_host, settings.metrics_port, service.metrics.registry, service.health):
            await task
    except asyncio.CancelledError:
        _log.info("stopped")
    finally:
        task.cancel()
        made.close()
        await cluster.close()
