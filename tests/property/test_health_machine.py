"""Faults of every class, resets, reloads, pods that end and agents that die, in any order.

An ill slice is handed to no container, a GPU that was reset is well again by itself, and each fault is counted once.
What is ill is worked out here from what happened to the silicon, by the serial numbers of its instances, and shares
nothing with the agent's marks.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator import errors
from allocator.claims.report import GpuReport, SliceState
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.gpu import device
from node_agent.gpu.device import MemoryFault
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode, Crash

PLACES = (("1g.5gb", 0), ("1g.5gb", 0), ("1g.5gb", 1), ("3g.20gb", 4), ("4g.20gb", 0))  # few, so that they come again
APPLICATION = (13, 31, 94)  # restart the application
RESET = (48, 79, 95, 119)  # reset the GPU
NOTICE = (43, 45, 63, 154)
UNKNOWN = (74, 999)
STRIKES = (
    (Call.CREATE_GPU_INSTANCE, device.NoRoomError),
    (Call.CREATE_GPU_INSTANCE, device.DeadlineExceededError),
    (Call.DESTROY_GPU_INSTANCE, device.DeviceBusyError),
    (Call.LIST, device.UninitializedError),
    (Call.PROCESSES, device.DeadlineExceededError),
)
Slice = tuple[str, int]  # GPU and serial number of a GPU instance: one that is cut anew has another one


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Thousands of steps log nothing."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


class HealthMachine(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    @initialize(gpus=st.sampled_from(["a100-40gb:1", "a100-40gb:2"]))
    def begin(self, gpus: str) -> None:
        """A node."""
        self.directory = Path(tempfile.mkdtemp())
        self.node = AgentOnNode(self.directory, gpus)
        self.ill: set[Slice] = set()  # what must be handed to nobody, and the agent has been told
        self.ill_gpus: set[str] = set()
        self.perhaps_ill_gpus: set[str] = set()  # the agent died while it was told
        self.reported: Counter[str] = Counter()  # since the agent started
        self.countdown = -1
        self._bound = 0
        self.node.store.before = self.node.store.after = self._point
        self.node.devices.at = lambda _: self._point()
        self._guarded(self.node.step)

    def teardown(self) -> None:
        """Once nothing goes wrong any more, every pod can end, and after a reset everything is as new."""
        if not hasattr(self, "node"):
            return
        self.countdown = -1
        self.node.driver.faults.clear()
        self._settle()
        for gpu in self._reported_gpus():
            assert gpu.healthy == (gpu.illness is None), gpu.message
            assert gpu.healthy or gpu.uuid in self.ill_gpus | self.perhaps_ill_gpus, gpu.message
            assert not gpu.healthy or gpu.uuid not in self.ill_gpus
            self._check_slices(gpu)
        for pod in tuple(self.node.pods.values()):
            self.node.end(pod.view, gone=True)
        self._settle()
        for gpu in self._reported_gpus():
            assert not gpu.healthy or all(slice_.illness is None for slice_ in gpu.slices)
            if not gpu.healthy:
                self._reset(gpu.uuid)
        self._settle()
        for gpu in self._reported_gpus():
            assert gpu.healthy, gpu.message
            assert gpu.illness is None
        self._everything_can_be_used()
        shutil.rmtree(self.directory)

    # Crashes

    def _point(self) -> None:
        if self.countdown == 0:
            self.countdown = -1
            raise Crash
        self.countdown -= self.countdown > 0

    def _guarded(self, action: Callable[[], object]) -> bool:
        """Do something; if the agent dies of it, start a new one, and say so."""
        try:
            action()
        except Crash:
            self._restart()
            return False
        except errors.MigschedError:
            pass
        return True

    def _restart(self) -> None:
        self.node.driver.faults.clear()  # an agent that never read a GPU cannot tell that it was reset: docs/health.md
        self.node.restart()
        self.reported.clear()

    @rule(points=st.integers(-6, 8))
    def die(self, points: int) -> None:
        """The agent dies now, or after so many journal and driver points."""
        if points < 0:
            self._restart()
        else:
            self.countdown = points

    # What the driver reports

    @rule(data=st.data(), xid=st.sampled_from(RESET + NOTICE + UNKNOWN), attributed=st.booleans())
    def report(self, data: st.DataObject, xid: int, attributed: bool) -> None:
        """The driver reports an XID, and the agent steps."""
        self._report(data, xid, attributed)

    @rule(data=st.data(), xid=st.sampled_from(APPLICATION), attributed=st.integers(0, 3))
    def application_fails(self, data: st.DataObject, xid: int, attributed: int) -> None:
        """The driver reports an XID of an application, mostly attributed."""
        self._report(data, xid, attributed > 0)

    def _report(self, data: st.DataObject, xid: int, attributed: bool) -> None:
        uuid = data.draw(st.sampled_from(self.node.gpus))
        instances = self.node.driver.find(uuid).instances()
        gi_id = data.draw(st.sampled_from([i.gi_id for i in instances])) if attributed and instances else None
        self.node.driver.xid(uuid, xid, gi_id, None if gi_id is None else 0)
        needs_reset = xid in RESET or (xid in UNKNOWN and gi_id is None)
        self._told(
            uuid, gi_id, needs_reset=needs_reset, harmless=xid in NOTICE, label=str(xid) if xid < 999 else "other"
        )

    @rule(data=st.data(), fault=st.sampled_from(MemoryFault))
    def memory_fault(self, data: st.DataObject, fault: MemoryFault) -> None:
        """The driver reports an error of memory, and the agent steps."""
        uuid = data.draw(st.sampled_from(self.node.gpus))
        self.node.driver.memory_fault(uuid, fault)
        needs_reset = fault in (MemoryFault.UNCONTAINED, MemoryFault.RETIREMENT_FAILED)
        self._told(uuid, None, needs_reset=needs_reset, harmless=False, label=fault.value)

    def _told(self, uuid: str, gi_id: int | None, *, needs_reset: bool, harmless: bool, label: str) -> None:
        """What is ill from now on, if the agent lives long enough to write it down: no driver reports it again."""
        gpu = self.node.driver.find(uuid)
        view = self.node.state.view.gpus.get(uuid)
        known = {instance.gi_id for instance in view.instances} if view else set()
        hurt = known & {instance.gi_id for instance in gpu.instances()} if gi_id is None else {gi_id}
        self.reported[label] += 1
        slices = {(uuid, gpu.serial(gi) or 0) for gi in hurt}
        if not self._guarded(self.node.step):
            self.perhaps_ill_gpus |= {uuid} if needs_reset else set()
            return
        if needs_reset:
            self.ill_gpus.add(uuid)
        elif not harmless:
            self.ill |= slices

    # What ends it

    @rule(data=st.data(), how=st.sampled_from(["reset", "reload", "reboot", "meddle", "meddle"]))
    def heal(self, data: st.DataObject, how: str) -> None:
        """A GPU is reset, the driver loaded again, the node rebooted; or somebody destroys what nothing uses."""
        if how == "reboot":
            self.node.reboot()
            self.reported.clear()
            self.ill_gpus.clear()
            self.perhaps_ill_gpus.clear()
        elif how == "meddle":
            self._meddle(data.draw(st.sampled_from(self.node.gpus)))
        else:
            for uuid in self.node.gpus if how == "reload" else [data.draw(st.sampled_from(self.node.gpus))]:
                self._reset(uuid)
            self._look(again=data.draw(st.booleans()))

    def _meddle(self, uuid: str) -> None:
        gpu = self.node.driver.find(uuid)
        for instance in gpu.instances():
            with suppress(device.DeviceError):
                gpu.destroy(instance.gi_id)

    def _look(self, *, again: bool) -> None:
        """The agent, or the next one, reads the GPUs before anything else happens."""
        self.node.driver.faults.clear()
        if again:
            self._restart()
        self._guarded(self.node.step)

    def _reset(self, uuid: str) -> None:
        for pod in self.node.pods.values():
            pod.pids.clear()
        for gpu in self.node.driver.gpus.values():
            gpu.users.clear()  # who resets a GPU stops what runs
        self.node.driver.reset(uuid)
        self.ill_gpus.discard(uuid)
        self.perhaps_ill_gpus.discard(uuid)

    # What goes wrong besides, and pods

    @rule(strike=st.sampled_from(STRIKES), times=st.integers(1, 2))
    def fail(self, strike: tuple[Call, type[device.DeviceError]], times: int) -> None:
        """The next driver calls fail."""
        self.node.driver.faults.fail(strike[0], strike[1], times=times)

    @rule(data=st.data(), at_once=st.integers(0, 3))
    def bind(self, data: st.DataObject, at_once: int) -> None:
        """A pod is bound here, with one of a few places promised, and mostly admitted soon."""
        if len(self._living()) < 6:
            number = data.draw(st.integers(0, len(self.node.gpus) - 1))
            profile, start = data.draw(st.sampled_from(PLACES))
            self._bound += 1
            pod = self.node.bind(f"p{self._bound}", profile, at=(self.node.place(profile, start, number),))
            if at_once and self._guarded(self.node.step):
                self._admit(pod)

    @precondition(lambda self: self._waiting())
    @rule(data=st.data(), heard=st.booleans())
    def admit(self, data: st.DataObject, heard: bool) -> None:
        """The kubelet admits a pod: what it gets is not ill, nor on an ill GPU."""
        pod = self.node.pods[data.draw(st.sampled_from(self._waiting()))].view
        if heard:
            self.node.hear()
        self._admit(pod)

    def _admit(self, pod: PodView) -> None:
        try:
            self.node.admit(pod)
        except Crash:
            self._restart()
            return
        except errors.MigschedError:
            return
        for place in self.node.places_of(pod):
            assert place.gpu not in self.ill_gpus
            assert self._slice(place) not in self.ill
        self.node.started(pod)

    @precondition(lambda self: self._admitted())
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """A pod's containers start processes."""
        pod = self.node.pods[data.draw(st.sampled_from(self._admitted()))]
        there = [self.node.instance(place) for place in self.node.places_of(pod.view)]
        if not pod.pids and all(instance is not None and instance.whole for instance in there):
            self.node.run(pod.view)

    @precondition(lambda self: self._living())
    @rule(data=st.data(), gone=st.booleans())
    def end(self, data: st.DataObject, gone: bool) -> None:
        """A pod ends."""
        self.node.end(self.node.pods[data.draw(st.sampled_from(sorted(self._living())))].view, gone=gone)

    @precondition(lambda self: self._admitted())
    @rule(data=st.data(), after=st.sampled_from([0.0, 10.0]))
    def replace(self, data: st.DataObject, after: float) -> None:
        """A pod ends and another gets its ids, before the agent noticed the end or after."""
        pod = self.node.pods[data.draw(st.sampled_from(self._admitted()))].view
        places = self.node.places_of(pod)
        self.node.end(pod, gone=True)
        self._bound += 1
        following = self.node.bind(f"p{self._bound}", *(p.placement.profile for p in places), at=tuple(places))
        if after and not self._guarded(lambda: self.node.step(after)):
            return
        self.node.hear()
        self._admit(following)

    @rule(after=st.sampled_from([1.0, 10.0]))
    def step(self, after: float) -> None:
        """The agent makes a step, at once or after a while."""
        self._guarded(lambda: self.node.step(after))

    # What must hold

    @invariant()
    def faults_are_counted_once(self) -> None:
        """The metrics count what was reported since the agent started."""
        if hasattr(self, "node"):
            counted: Counter[str] = Counter()
            for collector in (self.node.metrics.xids, self.node.metrics.memory_faults):
                for sample in (sample for metric in collector.collect() for sample in metric.samples):
                    if sample.name.endswith("_total"):
                        counted[sample.labels.get("xid") or sample.labels["kind"]] += int(sample.value)
            assert counted == self.reported

    # Within

    def _settle(self) -> None:
        for _ in range(3):
            self._guarded(lambda: self.node.step(10.0))

    def _reported_gpus(self) -> tuple[GpuReport, ...]:
        assert self.node.outcome is not None
        return self.node.outcome.report.gpus

    def _check_slices(self, gpu: GpuReport) -> None:
        """Every ill slice is shown so, and on a GPU that is not ill itself none of them is kept warm."""
        for slice_ in gpu.slices:
            if self._slice(GpuPlacement(gpu.uuid, slice_.placement)) in self.ill:
                assert slice_.illness is not None
                assert not gpu.healthy or slice_.state is not SliceState.IDLE

    def _everything_can_be_used(self) -> None:
        """Each GPU takes a slice as large as itself, and it is none that was ill."""
        for number in range(len(self.node.gpus)):
            place = self.node.place("7g.40gb", 0, number)
            pod = self.node.bind(f"last-{number}", "7g.40gb", at=(place,))
            self._settle()
            self.node.admit(pod)
            assert self.node.places_of(pod) == [place]
            assert self._slice(place) not in self.ill

    def _slice(self, place: GpuPlacement) -> Slice | None:
        there = self.node.instance(place)
        return None if there is None else (place.gpu, self.node.driver.find(place.gpu).serial(there.gi_id) or 0)

    def _living(self) -> list[str]:
        return [uid for uid, pod in self.node.pods.items() if not pod.view.over]

    def _waiting(self) -> list[str]:
        return sorted(uid for uid, pod in self.node.pods.items() if pod.view.waits and not pod.devices)

    def _admitted(self) -> list[str]:
        return sorted(uid for uid, pod in self.node.pods.items() if pod.devices and not pod.view.over)


HealthMachine.TestCase.settings = settings(max_examples=settings().max_examples + 20, stateful_step_count=40)
TestHealth = HealthMachine.TestCase
