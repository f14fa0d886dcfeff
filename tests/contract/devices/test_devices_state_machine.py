"""Both implementations side by side under random use, against an oracle that tries everything.

Neither the port nor the simulated GPU is asked what is legal: that is decided by tests/oracles.py from the published
table, anew each time.
"""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator.mig.profile import Placement
from node_agent.gpu import device
from simulator.gpu.driver import simulate
from tests import oracles
from tests.contract.devices.simulated_nodes import A30, A100, RTX, Kind, SimulatedNodePort, open_bench
from tests.oracles import Chip

T = TypeVar("T")


class TwoImplementations(RuleBasedStateMachine):
    """Does the same to a SimulatedDevices and to an NvmlDevices, and keeps its own list of what must be there."""

    benches: tuple[SimulatedNodePort, SimulatedNodePort]
    chip: Chip

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[int, Placement] = {}
        self.pids: dict[int, int] = {}  # pid: GPU instance
        self.mode = True

    @initialize(model=st.sampled_from([A30, A100, RTX]))
    def begin(self, model: str) -> None:
        """Two nodes with one GPU each, alike."""
        self.benches = (open_bench(Kind.SIMULATOR, simulate(model)), open_bench(Kind.NVML, simulate(model)))
        self.chip = oracles.published_chip(model)
        for bench in self.benches:
            bench.devices.discover()

    def teardown(self) -> None:
        """Close both."""
        for bench in getattr(self, "benches", ()):
            bench.close()

    def both(self, work: Callable[[SimulatedNodePort], T]) -> T | type[device.DeviceError]:
        """What both answered, or the class of error that both raised."""
        answers: list[T | type[device.DeviceError]] = []
        for bench in self.benches:
            try:
                answers.append(work(bench))
            except device.DeviceError as exc:
                answers.append(type(exc))
        assert answers[0] == answers[1]
        return answers[0]

    def items(self) -> list[oracles.Item]:
        """What is there, as the oracle names it."""
        return [(one.profile, one.start) for one in self.there.values()]

    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        """Cut anywhere: made exactly where the oracle says that it fits."""
        name, start = data.draw(st.sampled_from(self.chip.items))
        placement = Placement(name, start, self.chip.shape(name).size)
        answer = self.both(lambda bench: bench.devices.create(bench.uuid, placement))
        if not self.mode:
            assert answer is device.NotSupportedError
        elif self.chip.legal([*self.items(), (name, start)]):
            assert isinstance(answer, device.GpuInstance)
            assert answer.placement == placement
            assert answer.gi_id not in self.there
            self.there[answer.gi_id] = placement
        else:
            assert answer is device.NoRoomError

    @rule(name=st.sampled_from(["1g.5gb", "3g.20gb", "2g.12gb", "9g.9gb"]), start=st.integers(-1, 12))
    def create_nonsense(self, name: str, start: int) -> None:
        """Cut where no profile may lie: refused, and never for want of room."""
        if (name, start) not in self.chip.items:
            answer = self.both(lambda bench: bench.devices.create(bench.uuid, Placement(name, max(start, 0), 32)))
            assert answer is device.InvalidArgumentError

    @precondition(lambda self: self.there)
    @rule(data=st.data(), wrong=st.booleans())
    def destroy(self, data: st.DataObject, wrong: bool) -> None:
        """Destroy what is there: done unless used, and left alone if it is not the placement meant."""
        gi_id = data.draw(st.sampled_from(sorted(self.there)))
        placement = self.there[gi_id]
        if wrong:
            name, start = data.draw(st.sampled_from(self.chip.items))
            placement = Placement(name, start, self.chip.shape(name).size)
        answer = self.both(lambda bench: bench.devices.destroy(bench.uuid, gi_id, placement))
        if placement != self.there[gi_id]:
            assert answer is device.StaleHandleError
        elif gi_id in self.pids.values():
            assert answer is device.DeviceBusyError
        else:
            assert answer is True
            del self.there[gi_id]

    @rule(gi_id=st.integers(0, 14), data=st.data())
    def destroy_again(self, gi_id: int, data: st.DataObject) -> None:
        """Destroy what is not there: no error."""
        name, start = data.draw(st.sampled_from(self.chip.items))
        if gi_id not in self.there:
            placement = Placement(name, start, self.chip.shape(name).size)
            assert self.both(lambda bench: bench.devices.destroy(bench.uuid, gi_id, placement)) is False

    @precondition(lambda self: self.there)
    @rule(data=st.data(), pid=st.integers(1, 3))
    def start_process(self, data: st.DataObject, pid: int) -> None:
        """A process begins, somewhere."""
        gi_id = data.draw(st.sampled_from(sorted(self.there)))
        self.pids[pid] = gi_id
        for bench in self.benches:
            bench.gpu.start_process(gi_id, pid)

    @rule(pid=st.integers(1, 3))
    def end_process(self, pid: int) -> None:
        """A process ends, if it is there."""
        self.pids.pop(pid, None)
        for bench in self.benches:
            bench.gpu.end_process(pid)

    @rule(enabled=st.booleans())
    def switch(self, enabled: bool) -> None:
        """Switch MIG mode: in force at once unless somebody uses the GPU, and then everything is gone."""
        answer = self.both(lambda bench: bench.devices.set_mode(bench.uuid, enabled))
        assert isinstance(answer, device.ModeChange)
        assert answer.in_force == (enabled == self.mode or not self.pids)
        if answer.in_force and enabled != self.mode:
            self.mode = enabled
            self.there.clear()
        if not answer.in_force:  # call the pending change off again
            self.both(lambda bench: bench.devices.set_mode(bench.uuid, self.mode))

    @rule()
    def reboot(self) -> None:
        """The node reboots: everything is gone, and Hopper and later have forgotten their mode."""
        for bench in self.benches:
            bench.driver.restart()
            bench.devices.discover()
        self.mode = self.benches[0].gpu.mode.current
        self.there.clear()
        self.pids.clear()

    @invariant()
    def inventory(self) -> None:
        """Both list exactly what must be there, whole, with distinct MIG UUIDs."""
        listed = self.both(lambda bench: bench.devices.instances(bench.uuid))
        assert isinstance(listed, tuple)
        assert {one.gi_id: one.placement for one in listed} == self.there
        assert all(one.whole for one in listed)
        assert len({one.mig_uuid for one in listed}) == len(listed)

    @invariant()
    def processes(self) -> None:
        """Both list exactly the processes of each instance."""
        for gi_id in self.there:
            found = self.both(lambda bench, gi_id=gi_id: bench.devices.processes(bench.uuid, gi_id))  # type: ignore[misc]
            assert isinstance(found, tuple)
            assert {one.pid for one in found} == {pid for pid, used in self.pids.items() if used == gi_id}

    @invariant()
    def capacity(self) -> None:
        """The remaining capacity is what the oracle counts by trying everything."""
        answer = self.both(lambda bench: bench.devices.remaining(bench.uuid))
        if isinstance(answer, type):
            assert answer is device.NotSupportedError
            assert not self.mode
        else:
            names = [shape.name for shape in self.chip.shapes]
            assert answer == {name: oracles.room(self.chip, frozenset(self.items()), name) for name in names}


TestTwoImplementations = TwoImplementations.TestCase
TestTwoImplementations.settings = settings(max_examples=20, stateful_step_count=50)
