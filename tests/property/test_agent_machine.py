"""The agent against simulated GPUs, a kubelet, pods, faults and crashes in any order: nothing shared, nothing lost."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator import errors
from allocator.claims.report import SliceState
from allocator.mig.profile import GpuPlacement
from node_agent.cluster.pods import PodView
from node_agent.gpu import device
from node_agent.slices import states
from node_agent.slices.observation import SOURCES
from node_agent.slices.states import RecordState
from simulator.gpu.faults import Call
from tests.unit.node_agent.agent_on_node import AgentOnNode, Crash

PROFILES = ("1g.5gb", "1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb", "1g.5gb+me")
STRIKES = (
    (Call.CREATE_GPU_INSTANCE, device.NoRoomError),
    (Call.CREATE_GPU_INSTANCE, device.DeadlineExceededError),
    (Call.CREATE_COMPUTE_INSTANCE, device.NoRoomError),
    (Call.DESTROY_GPU_INSTANCE, device.DeviceBusyError),
    (Call.DESTROY_COMPUTE_INSTANCE, device.DeviceBusyError),
    (Call.LIST, device.UninitializedError),
    (Call.PROCESSES, device.DeadlineExceededError),
    (Call.DESCRIBE, device.GpuLostError),
)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Thousands of steps log nothing."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


class AgentMachine(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    @initialize(gpus=st.sampled_from(["a100-40gb:1", "a100-40gb:2", "a30-24gb:1"]))
    def begin(self, gpus: str) -> None:
        """A node."""
        self.directory = Path(tempfile.mkdtemp())
        self.node = AgentOnNode(self.directory, gpus)
        self.running: dict[str, dict[GpuPlacement, int | None]] = {}
        self.foreign: dict[tuple[str, int], int | None] = {}
        self.countdown = -1
        self.stepped = False  # since a process was started
        self._arm()

    def teardown(self) -> None:
        """Once nothing goes wrong any more, all that lives has its slices, and nothing else is left."""
        if not hasattr(self, "node"):
            return
        self.countdown = -1
        self.node.driver.faults.clear()
        self.node.api_up = self.node.kubelet_up = True
        for _ in range(3):
            self._guarded(lambda: self.node.step(10.0))
        self._check_settled()
        shutil.rmtree(self.directory)

    # Crashes

    def _arm(self) -> None:
        self.node.store.before = self.node.store.after = self._point
        self.node.devices.at = lambda _: self._point()

    def _point(self) -> None:
        if self.countdown == 0:
            self.countdown = -1
            raise Crash
        self.countdown -= self.countdown > 0

    def _guarded(self, action: Callable[[], object]) -> None:
        """Do something; if the agent dies of it, start a new one."""
        try:
            action()
            self.stepped = True
        except Crash:
            self.node.restart()

    @rule(points=st.integers(0, 12))
    def die_soon(self, points: int) -> None:
        """The agent will die after so many journal and driver points."""
        self.countdown = points

    @rule()
    def restart(self) -> None:
        """The agent is restarted."""
        self.node.restart()

    @rule()
    def reboot(self) -> None:
        """The node reboots."""
        self.node.reboot()
        self.running.clear()
        self.foreign.clear()

    # What goes wrong

    @rule(strike=st.sampled_from(STRIKES), after=st.booleans(), times=st.integers(1, 3))
    def fail(self, strike: tuple[Call, type[device.DeviceError]], after: bool, times: int) -> None:
        """The next driver calls fail, with or without effect."""
        self.node.driver.faults.fail(strike[0], strike[1], after=after, times=times)

    @rule(up=st.booleans())
    def api(self, up: bool) -> None:
        """The API server goes and comes."""
        self.node.api_up = up

    @rule(up=st.booleans())
    def kubelet(self, up: bool) -> None:
        """PodResources goes and comes."""
        self.node.kubelet_up = up

    @rule(data=st.data())
    def cut_foreign(self, data: st.DataObject) -> None:
        """Somebody else cuts a slice."""
        place = self._any_place(data)
        with suppress(device.DeviceError):
            made = self.node.driver.find(place.gpu).create(place.placement.profile, place.placement.start)
            self.foreign[place.gpu, made.gi_id] = self.node.driver.find(place.gpu).serial(made.gi_id)

    @precondition(lambda self: self.foreign)
    @rule(data=st.data())
    def destroy_foreign(self, data: st.DataObject) -> None:
        """Its maker destroys it."""
        gpu, gi_id = data.draw(st.sampled_from(sorted(self.foreign)))
        with suppress(device.DeviceError):
            self.node.driver.find(gpu).destroy(gi_id)
            del self.foreign[gpu, gi_id]

    # Pods

    @rule(data=st.data(), number=st.integers(1, 2), promised=st.booleans(), listed=st.integers(0, 3))
    def bind(self, data: st.DataObject, number: int, promised: bool, listed: int) -> None:
        """A pod is bound here, with places promised, conflicting ones too, or past the scheduler."""
        if len(self.node.pods) < 12:
            places = [self._any_place(data) for _ in range(number)]
            at = tuple(places) if promised else ()
            self.node.bind(f"p{len(self.node.pods)}", *(p.placement.profile for p in places), at=at, listed=listed > 0)

    @precondition(lambda self: self._waiting())
    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        """The kubelet admits a pod, whose containers then start."""
        pod = self.node.pods[data.draw(st.sampled_from(self._waiting()))].view
        if not self._admit(pod):
            return
        if data.draw(st.booleans()):
            self.node.started(pod)
        if data.draw(st.booleans()):
            self._run(pod.uid)

    def _admit(self, pod: PodView) -> bool:
        try:
            return self.node.admit(pod)
        except Crash:
            self.node.restart()
        except errors.MigschedError:
            pass
        return False

    @precondition(lambda self: self._admitted() and len(self.node.pods) < 12)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """The kubelet takes what a living pod was given for free, and has another pod for which just that will do."""
        uid = data.draw(st.sampled_from(self._admitted()))
        self.node.forgotten.add(uid)
        place = self.node.places_of(self.node.pods[uid].view)[0]
        rival = self.node.bind(f"p{len(self.node.pods)}", place.placement.profile, at=(place,))
        self.step()
        self._admit(rival)

    @precondition(lambda self: self._admitted())
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """A pod's containers start processes."""
        self._run(data.draw(st.sampled_from(self._admitted())))

    def _run(self, uid: str) -> None:
        pod = self.node.pods[uid]
        there = [self.node.instance(p) for p in self.node.places_of(pod.view)]
        if pod.pids or pod.view.over or not all(instance is not None and instance.whole for instance in there):
            return
        self.node.run(pod.view)
        self.node.started(pod.view)
        self.stepped = False
        self.running[uid] = {p: self._serial(p) for p in self.node.places_of(pod.view)}

    @precondition(lambda self: self.node.pods)
    @rule(data=st.data(), gone=st.booleans(), lingers=st.booleans())
    def end(self, data: st.DataObject, gone: bool, lingers: bool) -> None:
        """A pod ends, and perhaps its process lives a little longer."""
        uid = data.draw(st.sampled_from(sorted(self.node.pods)))
        self.node.end(self.node.pods[uid].view, phase_only=lingers, gone=gone and not lingers)
        if not lingers:
            self.running.pop(uid, None)

    @rule()
    def step(self) -> None:
        """The agent makes a step. What its observation kept from earlier ones is what would be worked out now."""
        self._guarded(self.node.step)
        kept = self.node.state.observe()
        now = dataclasses.replace(kept)
        assert all(getattr(kept, name) == getattr(now, name) for name in SOURCES)

    @rule()
    def later(self) -> None:
        """The agent makes a step after a while."""
        self._guarded(lambda: self.node.step(10.0))

    # What must hold

    @invariant()
    def nobody_shares(self) -> None:
        """Live pods' places never overlap."""
        if hasattr(self, "node"):
            held = [p for uid in self._admitted() for p in self.node.places_of(self.node.pods[uid].view)]
            for one, other in combinations(held, 2):
                assert not _overlap(one, other)
            for uid in self._admitted():
                mine = self.node.places_of(self.node.pods[uid].view)
                others = [p for owner, places in self.running.items() if owner != uid for p in places]
                assert not any(_overlap(place, other) for place in mine for other in others)

    @invariant()
    def nothing_is_taken_back_too_early(self) -> None:
        """What the kubelet gave to a living pod is held in the journal."""
        if hasattr(self, "node"):
            for uid in self._admitted():
                for place in self.node.places_of(self.node.pods[uid].view):
                    assert self.node.journal.records[place].state in states.HELD

    @invariant()
    def what_is_used_is_not_called_idle(self) -> None:
        """The report never calls a slice idle on which a process runs."""
        outcome = self.node.outcome if hasattr(self, "node") else None
        if outcome is not None and self.stepped:
            idle = {
                GpuPlacement(gpu.uuid, slice_.placement)
                for gpu in outcome.report.gpus
                for slice_ in gpu.slices
                if slice_.state is SliceState.IDLE
            }
            assert not idle & {p for places in self.running.values() for p in places}

    @invariant()
    def nothing_is_disturbed(self) -> None:
        """A slice on which a process runs, and a foreign slice, stays the very one it was."""
        if hasattr(self, "node"):
            for places in self.running.values():
                for place, serial in places.items():
                    assert self._serial(place) == serial
            for (gpu, gi_id), serial in self.foreign.items():
                assert self.node.driver.find(gpu).serial(gi_id) == serial

    def _check_settled(self) -> None:
        records = self.node.journal.records
        assert all(r.state in (RecordState.IDLE, RecordState.ALLOCATED) for r in records.values())
        for uuid, gpu in self.node.driver.gpus.items():
            for instance in gpu.instances():
                assert (uuid, instance.gi_id) in self.foreign or GpuPlacement(uuid, instance.placement) in records
        foreign = [
            GpuPlacement(uuid, gpu.instance(gi).placement)
            for uuid, gpu in self.node.driver.gpus.items()
            for (owner, gi) in self.foreign
            if owner == uuid
        ]
        for uid in self._admitted():
            for place in self.node.places_of(self.node.pods[uid].view):
                there = self.node.instance(place)
                blocked = any(f.gpu == place.gpu and f.placement.overlaps(place.placement) for f in foreign)
                assert blocked or (there is not None and there.whole)
        held = {p for p, r in records.items() if r.state in states.HELD}
        mine = {p for pod in self.node.pods.values() for p in self.node.places_of(pod.view)}
        lingering = {p for places in self.running.values() for p in places}
        assert held <= mine | lingering | self._may_be_somebodys()

    def _may_be_somebodys(self) -> set[GpuPlacement]:
        """Places that a living pod may have got from an Allocate whose answer was lost."""
        wanted = {name for pod in self.node.pods.values() if not pod.view.over for name in pod.view.wanted}
        return {p for p in self.node.journal.records if p.placement.profile in wanted}

    # Within

    def _serial(self, place: GpuPlacement) -> int | None:
        there = self.node.instance(place)
        return None if there is None else self.node.driver.find(place.gpu).serial(there.gi_id)

    def _any_place(self, data: st.DataObject) -> GpuPlacement:
        number = data.draw(st.integers(0, len(self.node.gpus) - 1))
        catalogue = self.node.driver.find(self.node.gpus[number]).catalogue
        names = [p.name for p in catalogue.profiles]
        profile = data.draw(st.sampled_from([n for n in PROFILES if n in names] or names))
        return self.node.place(profile, data.draw(st.sampled_from(catalogue.profile(profile).starts)), number)

    def _waiting(self) -> list[str]:
        return sorted(uid for uid, pod in self.node.pods.items() if pod.view.waits and not pod.devices)

    def _admitted(self) -> list[str]:
        return sorted(uid for uid, pod in self.node.pods.items() if pod.devices and not pod.view.over)


def _overlap(one: GpuPlacement, other: GpuPlacement) -> bool:
    return one.gpu == other.gpu and one.placement.overlaps(other.placement)


AgentMachine.TestCase.settings = settings(max_examples=2 * settings().max_examples + 20, stateful_step_count=50)
TestAgent = AgentMachine.TestCase
