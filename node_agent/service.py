"""Wires the node agent: state, step, device plugins, reports, metrics. `run` is what `migsched agent` calls.

One event loop for everything that talks; the step and the answers to the kubelet block on the driver and run in
threads, which share the state under its lock. Order of starting: the node's preconditions are judged, all at once, the
journal and the GPUs are read, pods and PodResources are asked once, a first step restores what containers have, and
only then are devices registered: a rebooted kubelet that gets devices before their slices stand would start containers
without them.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from allocator import errors
from config import logs
from config.version import version
from kubeclient.timestamps import now
from node_agent import preconditions, process_tuning, report, serving, surroundings
from node_agent.allocation import Allocation
from node_agent.cluster import coexistence
from node_agent.cluster.kube import KubeClient
from node_agent.cluster.labels import Labels
from node_agent.cluster.own_node import OwnNode
from node_agent.cluster.pod_watch import PodWatch
from node_agent.cluster.port import Cluster
from node_agent.containers import cdi, runtime_facts
from node_agent.containers.conditions import Conditions
from node_agent.containers.driver_files import DriverFiles
from node_agent.containers.driver_root import DriverRoot
from node_agent.containers.inject import Inject
from node_agent.containers.toolkit import Toolkit
from node_agent.gpu import device
from node_agent.kubelet.backend import AgentBackend
from node_agent.kubelet.checkpoint import Checkpoint
from node_agent.kubelet.device_calls import DeviceCalls
from node_agent.kubelet.plugins import Plugins
from node_agent.kubelet.pod_resources import PodResources
from node_agent.loop import StepLoop
from node_agent.metrics import Metrics
from node_agent.options import AgentOptions
from node_agent.preconditions import Precondition, PreconditionError
from node_agent.reconciler import Reconciler
from node_agent.reporter import Reporter
from node_agent.settings import Settings
from node_agent.slices.executor import Executor
from node_agent.slices.journal import Journal
from node_agent.slices.journal_file import FileStore
from node_agent.state import AgentState
from node_agent.step_signal import StepSignal

JOURNAL = "journal.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PLUGIN_POLL_S = 1.0
_NODE_WAIT_S = 2.0  # then for the node's annotation, which an agent without the right to list nodes never gets
_RUNTIME_POLL_S = 60.0
_FIRST_WAIT_S = 10.0  # for pods and PodResources before the first step; the API server may be away
_log = structlog.get_logger("service")


class Service:
    """One agent. `simulated` says that the GPUs are not there, so that neither are their device nodes.

    `loaded` is called once everything is there and the kubelet does not wait for us yet. `plugin_poll_s` is how often
    the kubelet's socket is looked at. `failed` are preconditions that do not hold, to be told beside a conflict.
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
        plugin_poll_s: float = PLUGIN_POLL_S,
        failed: Sequence[Precondition] = (),
    ) -> None:
        self._failed = failed
        self._settings = settings
        self._cluster = cluster
        self._loaded = loaded
        self.metrics = Metrics()
        options = settings.options(simulated=simulated)
        journal = Journal(FileStore(settings.state_dir / JOURNAL), boot)
        self.state = AgentState(settings.node, devices, journal, self.metrics, options)
        executor = Executor(self.state.devices, journal, self.state, self.state.backoff, self.metrics)
        specs = cdi.Specs(settings.cdi_dir) if settings.inject.by_name else None
        files = _driver_files(settings, simulated)
        self._conditions = Conditions(settings.inject, settings.cdi_dir, files, now)
        self._simulated = simulated
        adds_up = settings.inject is Inject.MOUNTS
        self._reconciler = Reconciler(self.state, executor, specs, self.metrics, files, adds_up=adds_up)
        step_signal = StepSignal()
        self._pods = PodWatch(
            cluster,
            settings.node,
            step_signal.request,
            on_unreadable=self.metrics.unreadable_pods.set,
            clock=self.state.clock,
        )
        self._own_node = OwnNode(cluster, settings.node, self._on_annotation)
        self._signal = step_signal
        self._pod_resources = PodResources(settings.pod_resources_socket)
        calls = DeviceCalls()
        checkpoint = Checkpoint(settings.device_plugin_dir)  # of its own: the loop reads it in another thread
        backend = AgentBackend(
            Allocation(self.state, executor, specs, files, self._conditions.unfit, checkpoint.read),
            self.state,
            self._pods,
            step_signal,
            self.metrics,
            calls,
            timeout_s=settings.allocate_timeout_s,
            inject=settings.inject,
        )
        self.plugins = Plugins(backend, settings.device_plugin_dir, poll_s=plugin_poll_s)
        mode = "observer" if settings.observer else "simulated" if simulated else "managed"
        self._reporter = Reporter(
            cluster,
            settings.node,
            version=version(),
            mode=mode,
            interval_s=settings.report_interval_s,
            conditions=self._extra_conditions,
        )
        self.loop = StepLoop(
            self.state,
            self._reconciler,
            self._pods,
            self._pod_resources,
            self.plugins,
            self._reporter,
            step_signal,
            self.metrics,
            calls,
            poll_s=settings.poll_s,
            registry=settings.plugin_registry_dir,
            plugin_directory=settings.device_plugin_dir,
            unfit=self._conditions.unfit,
        )
        self.health = serving.Health(self._waits_for)

    async def run(self) -> None:
        """Until cancelled. Raises JournalError if the journal cannot be used.

        PreconditionError beside another manager of the GPUs, where no container has a slice yet.
        """
        try:
            await self._run()
        finally:
            await self._pod_resources.close()

    async def _run(self) -> None:
        await asyncio.to_thread(self._reconciler.start)
        _log.info("started", node=self._settings.node, gpus=len(self.state.view.gpus))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run(), name="pods")
            group.create_task(self._own_node.run(), name="own node")
            group.create_task(self.health.run(), name="health")
            group.create_task(self._reporter.run(), name="report")
            group.create_task(self.loop.follow_driver(), name="driver events")
            await self._first_list()
            await self._refuse_beside_conflict()
            await self._look_at_runtime()
            await self.loop.step()
            self._loaded()
            if not self._settings.observer:
                group.create_task(self.plugins.run(), name="plugins")
            group.create_task(self.loop.run(), name="steps")
            group.create_task(self._follow_runtime(), name="container runtime")
            if self._settings.manage_operator_labels:
                group.create_task(Labels(self._cluster, self._settings.node).run(), name="labels")

    def _waits_for(self) -> str | None:
        """What is missing until containers have their slices again and new ones can get some, in words."""
        if not self._reporter.has_outcome:
            return "the first step"
        missing = frozenset() if self._settings.observer else self.plugins.missing
        if missing is None:
            return "the kubelet's device plugin directory"
        return f"the kubelet to register {', '.join(sorted(missing))}" if missing else None

    def _on_annotation(self, text: str) -> None:
        self.state.on_annotation(text)
        self._signal.request()

    @property
    def _gives_gpus(self) -> bool:
        """Whether containers get real GPUs from this agent, and so something of the container runtime."""
        return not (self._simulated or self._settings.observer)

    def _extra_conditions(self) -> list[dict[str, str]]:
        return self._conditions.current() if self._gives_gpus else []

    async def _follow_runtime(self) -> None:
        """Look at the container runtime now and then: its configuration is changed under a running agent."""
        while self._gives_gpus:
            await asyncio.sleep(_RUNTIME_POLL_S)
            await self._look_at_runtime()
            self._reporter.look_again()

    async def _look_at_runtime(self) -> None:
        """What the node's container runtime is and can. Unknown while the API server does not answer."""
        if not self._gives_gpus:
            return
        try:
            async with asyncio.timeout(_FIRST_WAIT_S):
                node = await self._cluster.node(self._settings.node)
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("cannot ask for the node's container runtime", error=str(error))
            return
        found = node.status.node_info.container_runtime_version
        facts = await asyncio.to_thread(runtime_facts.read, found, self._settings.host_etc)
        self._conditions.take(facts)
        _log.info("container runtime", runtime=facts.runtime, cdi=facts.cdi, default=facts.default_runtime)

    async def _first_list(self) -> None:
        try:
            async with asyncio.timeout(_FIRST_WAIT_S):
                await self._pods.synced.wait()
        except TimeoutError:
            _log.warning("the API server does not answer; going on with the journal and PodResources")
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_NODE_WAIT_S):
                await self._own_node.synced.wait()

    async def _refuse_beside_conflict(self) -> None:
        """Do not begin to serve beside another manager. Containers that have slices need them all the same: then the
        MigNode's Ready condition says who else is there.
        """
        conflict = None if self._settings.observer else self.loop.conflict() or await self._served_by_dra()
        if conflict is None:
            return
        if await self.loop.has_slices():
            _log.warning("another program manages the GPUs; containers keep their slices", conflict=conflict)
            return
        others = (precondition for precondition in self._failed if precondition.name != preconditions.CONFLICT)
        all_failed = (preconditions.conflict(conflict), *others)
        raise PreconditionError(preconditions.message(self._settings.node, all_failed))

    async def _served_by_dra(self) -> str | None:
        """What the node's labels say of it, as far as they can be read: the DRA driver may be about to come.

        Where the API server did not answer for pods it is not waited for again: containers wait for their slices.
        """
        if not self._pods.synced.is_set():
            return None
        try:
            async with asyncio.timeout(_FIRST_WAIT_S):
                return coexistence.served_by_dra((await self._cluster.node(self._settings.node)).metadata.labels)
        except (errors.ClusterError, TimeoutError) as error:
            _log.warning("cannot read the node's labels", error=str(error))
            return None


def _driver_files(settings: Settings, simulated: bool) -> DriverFiles | None:
    """The driver's files, where the agent brings them. Simulated GPUs have none."""
    if settings.inject is not Inject.CDI or simulated:
        return None
    seen = settings.driver_root or Path("/")
    root = DriverRoot(seen, settings.host_driver_root or seen)
    toolkit = Toolkit(root, settings.toolkit_dir, settings.state_dir / "toolkit")
    return DriverFiles(toolkit, root, retry_s=settings.retry_s)


def boot_id() -> str:
    """Which running of the kernel this is. No GPU instance outlives it."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError as error:
        raise errors.SettingsError("boot id", str(BOOT_ID), f"cannot be read: {error.strerror}") from error


def observe(devices: device.MigDevices, node: str, options: AgentOptions | None = None) -> dict[str, Any]:
    """One look at the GPUs, changing nothing: an observer's MigNode status. What cannot be seen is said in it.

    `options` are those of the agent that would run there: what it leaves alone is reported so.
    """
    options = replace(options or AgentOptions(), observer=True)
    unused = Journal(FileStore(Path(JOURNAL)), boot="")  # an observer neither reads nor writes it
    metrics = Metrics()
    state = AgentState(node, devices, unused, metrics, options)
    executor = Executor(state.devices, unused, state, state.backoff, metrics)
    outcome = Reconciler(state, executor, None, metrics).step()
    return report.status(outcome, version=version(), mode="observer", since=now())


async def check(
    settings: Settings, devices: Callable[[], device.MigDevices], *, simulated: bool = False
) -> tuple[Precondition, ...]:
    """The preconditions of the agent on this node, judged by one look that changes nothing."""
    cluster, problem = await _connected(settings)
    made = devices()
    try:
        return await _judged(settings, made, cluster, problem, simulated=simulated, starting=False)
    finally:
        made.close()
        if cluster is not None:
            await cluster.close()


async def _connected(settings: Settings) -> tuple[KubeClient | None, str]:
    """A connection to the API server, or why its settings cannot be used."""
    try:
        return await KubeClient.connect(settings.kubeconfig), ""
    except errors.SettingsError as error:
        return None, str(error)


async def _judged(
    settings: Settings,
    devices: device.MigDevices,
    cluster: KubeClient | None,
    problem: str,
    *,
    simulated: bool,
    starting: bool = True,
) -> tuple[Precondition, ...]:
    found = await surroundings.look(
        settings,
        devices,
        cluster,
        cluster,
        journal=settings.state_dir / JOURNAL,
        simulated=simulated,
        starting=starting,
        api_settings=problem,
    )
    return preconditions.judge(found)


async def run(
    settings: Settings, devices: Callable[[], device.MigDevices], *, boot: str, simulated: bool = False
) -> None:
    """The agent on a real node, until SIGTERM or SIGINT. What runs in containers goes on without it.

    Raises PreconditionError with all that is missing on the node.
    """
    logs.configure(settings.log_format, settings.log_level)
    process_tuning.shorten_switch_interval()
    cluster, problem = await _connected(settings)
    made = devices()
    try:
        judged = await _judged(settings, made, cluster, problem, simulated=simulated)
        failed = preconditions.failures(judged)
        preconditions.require(settings.node, failed)
        if cluster is not None:
            await _serve(settings, made, cluster, failed, boot=boot, simulated=simulated)
    finally:
        made.close()
        if cluster is not None:
            await cluster.close()


async def _serve(
    settings: Settings,
    devices: device.MigDevices,
    cluster: KubeClient,
    failed: Sequence[Precondition],
    *,
    boot: str,
    simulated: bool,
) -> None:
    if failed:
        missing = [str(precondition) for precondition in failed]
        _log.warning("not all preconditions are met; starting all the same", missing=missing)
    service = Service(
        settings,
        devices,
        cluster,
        boot=boot,
        simulated=simulated,
        loaded=process_tuning.release_memory,
        failed=failed,
    )
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
