"""A node to test the agent on: simulated GPUs, a kubelet that hands out devices, pods, a clock, and crashes.

`AgentOnNode` holds what outlives the agent; its `agent` is the agent of the moment, which `restart` replaces. Nothing
sleeps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from allocator.claims.placement_annotation import Promise
from allocator.mig.profile import GpuPlacement, Placement
from allocator.request import Request, SliceRequest
from node_agent.allocation import Allocation, AllocationError
from node_agent.cluster.pods import PodView
from node_agent.containers.cdi import Specs
from node_agent.containers.driver_files import DriverFiles
from node_agent.gpu.device import GpuInstance
from node_agent.metrics import Metrics
from node_agent.options import AgentOptions
from node_agent.reconciler import Reconciler
from node_agent.report import StepOutcome
from node_agent.slices import device_ids, states
from node_agent.slices.executor import Executor
from node_agent.slices.journal import Journal
from node_agent.slices.ownership import Assigned, Assignment, Holder, PodResourcesView
from node_agent.slices.states import RecordState, SliceEvent
from node_agent.state import AgentState
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import SimulatedDriver, simulate

NODE = "n1"
OPTIONS = AgentOptions(grace_s=3.0, retry_s=2.0, discover_s=0.0, real_nodes=False)


class Crash(BaseException):
    """The agent's process dies here."""


class MemoryStore:
    """A journal's bytes in memory. `before` and `after` are called around each write."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.writes = 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def read(self) -> bytes | None:
        """See Store."""
        return self.content

    def write(self, content: bytes) -> None:
        """See Store."""
        self.writes += 1
        self.before()
        self.content = content
        self.after()


class CrashingDevices(SimulatedDevices):
    """Devices during whose mutations the process can die: `at` is called at each point inside them."""

    def __init__(self, driver: SimulatedDriver) -> None:
        super().__init__(driver)
        self.at: Callable[[str], None] = lambda _: None

    def create(self, gpu: str, placement: Placement) -> GpuInstance:
        """Die before, between GPU and compute instance, or after."""
        self.at("before create")
        board = self.driver.find(gpu)
        try:
            self.at("half created")
        except Crash:
            profile = board.catalogue.profile(placement.profile)
            board.create_gpu_instance(profile.profile_id, placement.start)
            raise
        made = super().create(gpu, placement)
        self.at("after create")
        return made

    def destroy(self, gpu: str, gi_id: int, placement: Placement) -> bool:
        """Die before, between compute and GPU instance, or after."""
        self.at("before destroy")
        try:
            self.at("half destroyed")
        except Crash:
            for ci in self.driver.find(gpu).instance(gi_id).compute_instances:
                self.driver.find(gpu).destroy_compute_instance(gi_id, ci.ci_id)
            raise
        done = super().destroy(gpu, gi_id, placement)
        self.at("after destroy")
        return done


@dataclass
class KubeletPod:
    """What the kubelet knows of a pod: devices by (container, resource), and the processes it runs."""

    view: PodView
    devices: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    pids: list[int] = field(default_factory=list)
    listed: bool = True  # PodResources does not list ordinary init containers


class AgentOnNode:
    """One node. `gpus` is a simulator specification."""

    def __init__(self, directory: Path, gpus: str = "a100-40gb:1", options: AgentOptions = OPTIONS) -> None:
        self.now = 1000.0
        self.options = options
        self.driver = simulate(gpus, seed=NODE, pause=lambda _: None)
        self.devices = CrashingDevices(self.driver)
        self.store = MemoryStore()
        self.specs = Specs(directory / "cdi")
        self.files: DriverFiles | None = None
        self.boot = "boot-1"
        self.api_up = True
        self.kubelet_up = True
        self.forgotten: set[str] = set()  # pods (UIDs) whose devices the kubelet believes to be free, as it may
        self.pods: dict[str, KubeletPod] = {}
        self.outcome: StepOutcome | None = None
        self.passed: set[tuple[RecordState, SliceEvent]] = set()
        self._pid = 100
        self._bound = 0  # pods so far: a UID never comes again
        self.restart()

    @property
    def gpus(self) -> list[str]:
        """GPU UUIDs by index."""
        return [gpu.uuid for gpu in self.driver.by_index()]

    # The agent

    def restart(self, *, start: bool = True) -> None:
        """A new agent process over the same disk, GPUs and kubelet."""
        self.metrics = Metrics()
        self.journal = Journal(self.store, self.boot, self._pass)
        self.state = AgentState(NODE, self.devices, self.journal, self.metrics, self.options, lambda: self.now)
        self.executor = Executor(self.state.devices, self.journal, self.state, self.state.backoff, self.metrics)
        self.agent = Reconciler(self.state, self.executor, self.specs, self.metrics, self.files)
        self.allocation = Allocation(self.state, self.executor, self.specs, self.files, assigned=self.assigned)
        if start:
            self.agent.start()

    def _pass(self, state: RecordState, event: SliceEvent) -> RecordState | None:
        self.passed.add((state, event))
        return states.after(state, event)

    def reboot(self, *, start: bool = True) -> None:
        """The node reboots: instances, processes and the agent are gone; kubelet checkpoint and journal stay."""
        self.boot = f"{self.boot}+"
        self.driver.restart()
        for gpu in self.driver.gpus.values():
            gpu.mode.current = gpu.mode.pending = True
        for pod in self.pods.values():
            pod.pids.clear()
        if start:
            self.restart()

    def step(self, after: float = 1.0) -> StepOutcome:
        """Time passes, the agent hears of pods and PodResources, and steps."""
        self.now += after
        self.hear()
        self.outcome = self.agent.step()
        return self.outcome

    def hear(self) -> None:
        """Pods and PodResources as they are now."""
        if self.api_up:
            self.state.on_pods({uid: pod.view for uid, pod in self.pods.items()})
        if self.kubelet_up:
            self.state.on_listing(self.listing())
        self.state.on_events(self.devices.wait(0))

    def listing(self) -> PodResourcesView:
        """PodResources: active pods only."""
        holders = {
            (resource, id_): Holder(pod.view.namespace, pod.view.name, container)
            for pod in self.pods.values()
            if pod.listed and not pod.view.over
            for (container, resource), ids in pod.devices.items()
            for id_ in ids
        }
        return PodResourcesView(self.now, holders)

    def assigned(self) -> Assigned | None:
        """The kubelet's checkpoint, written after each Allocate: with ordinary init containers too."""
        named: dict[tuple[str, str], tuple[Assignment, ...]] = {}
        for uid, pod in self.pods.items():
            for (container, resource), ids in pod.devices.items():
                for id_ in ids if not pod.view.over else ():
                    named[resource, id_] = (*named.get((resource, id_), ()), Assignment(uid, container))
        return named

    # Pods

    def bind(
        self, name: str, *profiles: str, at: tuple[GpuPlacement, ...] = (), listed: bool = True, init: str = ""
    ) -> PodView:
        """A pod is bound here, with slices promised at places. `init` is the name of its ordinary init container."""
        container = "main"
        promises = tuple(Promise(container, p.gpu, p.placement.profile, p.placement.start) for p in at)
        asks = Request(tuple(SliceRequest(container, profile) for profile in profiles))
        self._bound += 1
        created = f"{self._bound:06}"
        ordinary = frozenset([init] if init else [])
        pod = PodView(f"uid-{name}-{created}", "default", name, created, asks=asks, promises=promises, init=ordinary)
        self.pods[pod.uid] = KubeletPod(pod, listed=listed)
        return pod

    def place(self, profile: str, start: int, gpu: int = 0) -> GpuPlacement:
        """A place on a GPU."""
        uuid = self.gpus[gpu]
        return GpuPlacement(uuid, self.driver.find(uuid).catalogue.placement(profile, start))

    def admit(self, pod: PodView, container: str = "main") -> bool:
        """The kubelet admits a pod: prefers, allocates, starts a process. False, and the pod fails, if refused."""
        known = self.pods[pod.uid]
        for profile, number in pod.asks.counts:
            resource = f"nvidia.com/mig-{profile.replace('+', '.')}"
            ids = self.choose(resource, number)
            if len(ids) < number:
                self.end(pod)
                raise AllocationError(f"requested number of devices unavailable for {resource}")
            try:
                self.allocation.allocate(resource, ids)
            except BaseException:
                self.end(pod)
                raise
            known.devices[container, resource] = tuple(ids)
        return True

    def started(self, pod: PodView) -> None:
        """The API server shows that the kubelet has admitted the pod."""
        known = self.pods[pod.uid]
        known.view = replace(known.view, started=not known.view.over)

    def choose(self, resource: str, number: int) -> list[str]:
        """Which ids the kubelet takes: those preferred, then any free ones."""
        living = (pod for uid, pod in self.pods.items() if not pod.view.over and uid not in self.forgotten)
        held = {id_ for pod in living for ids in pod.devices.values() for id_ in ids}
        free = [id_ for id_ in self.allocation.offers().get(resource, {}) if id_ not in held]
        preferred = self.allocation.prefer(resource, free, [], number)
        rest = [id_ for id_ in sorted(free) if id_ not in preferred]
        return [*preferred, *rest][:number]

    def run(self, pod: PodView) -> None:
        """The pod's containers start a process on each slice."""
        for place in self.places_of(pod):
            there = self.instance(place)
            if there is None or not there.whole:
                raise AssertionError(f"{pod.title} has no slice at {place}")
            self._pid += 1
            self.driver.find(place.gpu).start_process(there.gi_id, self._pid)
            self.pods[pod.uid].pids.append(self._pid)

    def end(self, pod: PodView, *, phase_only: bool = False, gone: bool = False) -> None:
        """The pod is over: its phase, and unless `phase_only` its processes; `gone` removes the object too."""
        known = self.pods[pod.uid]
        known.view = replace(known.view, over=True)
        if not phase_only:
            for pid in known.pids:
                for gpu in self.driver.gpus.values():
                    gpu.end_process(pid)
            known.pids.clear()
        if gone:
            del self.pods[pod.uid]

    def places_of(self, pod: PodView) -> list[GpuPlacement]:
        """Where the pod's devices lie, by their ids."""
        offered = device_ids.offered({gpu.uuid: gpu.catalogue for gpu in self.driver.gpus.values()})
        return [offered[id_] for ids in self.pods[pod.uid].devices.values() for id_ in ids]

    def instance(self, place: GpuPlacement) -> GpuInstance | None:
        """The instance exactly there."""
        instances = self.driver.find(place.gpu).instances()
        return next((instance for instance in instances if instance.placement == place.placement), None)

    def instances(self, gpu: int = 0) -> list[str]:
        """The slices on a GPU in words."""
        return sorted(str(instance.placement) for instance in self.driver.find(self.gpus[gpu]).instances())

    def foreign(self, profile: str, start: int, gpu: int = 0) -> GpuInstance:
        """Somebody else cuts a slice."""
        return self.driver.find(self.gpus[gpu]).create(profile, start)
