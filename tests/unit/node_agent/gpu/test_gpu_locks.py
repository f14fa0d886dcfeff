"""Several threads in one agent: GPUs do not wait for one another, and what belongs to one changes in its turn only."""

import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from allocator.mig.profile import GpuPlacement, resource_name
from node_agent.allocation import AllocationError
from node_agent.containers.cdi import Edits
from node_agent.gpu.device import DeviceEvent, EventKind, GpuInstance
from node_agent.gpu.gpu_locks import GpuLocks, Lock
from node_agent.slices import device_ids
from node_agent.slices.states import HELD, RecordState
from tests.unit.node_agent.agent_on_node import AgentOnNode

DEADLINE_S = 20.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads to call the agent from."""
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture
def two(tmp_path: Path) -> AgentOnNode:
    """Two A100-40GB."""
    return AgentOnNode(tmp_path, "a100-40gb:2")


class Gate:
    """The first slice to be created waits in the driver until the gate is opened."""

    def __init__(self, node: AgentOnNode) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()
        node.devices.at = self._pass

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    def _pass(self, point: str) -> None:
        if point == "before create" and not self.reached.is_set():
            self.reached.set()
            self._opened.wait(DEADLINE_S)


def allocate(node: AgentOnNode, place: GpuPlacement) -> Edits:
    """The kubelet asks for one place."""
    return node.allocation.allocate(resource_name(place.placement.profile), [device_ids.device_id(place)])


def test_allocate_does_not_wait_for_another_gpu_that_is_being_cut(two: AgentOnNode, pool: ThreadPoolExecutor) -> None:
    """While a step is in a driver call on one GPU, a slice of the other one is cut and handed out."""
    gate = Gate(two)
    two.bind("slow", "3g.20gb", at=(two.place("3g.20gb", 0, gpu=0),))
    step = pool.submit(two.step)
    try:
        assert gate.reached.wait(DEADLINE_S)
        given = pool.submit(allocate, two, two.place("1g.5gb", 2, gpu=1)).result(DEADLINE_S)
        assert not step.done()
    finally:
        gate.open()
    assert given.visible
    step.result(DEADLINE_S)
    assert (two.instances(0), two.instances(1)) == (["3g.20gb@0"], ["1g.5gb@2"])


def test_a_step_does_not_wait_for_a_gpu_on_which_allocate_is_at_work(
    two: AgentOnNode, pool: ThreadPoolExecutor
) -> None:
    """It sees to the other GPU and reports; what the busy one needs waits for the next step."""
    gate = Gate(two)
    asked = pool.submit(allocate, two, two.place("1g.5gb", 0, gpu=0))
    try:
        assert gate.reached.wait(DEADLINE_S)
        two.bind("a", "3g.20gb", at=(two.place("3g.20gb", 4, gpu=0),))
        two.bind("b", "3g.20gb", at=(two.place("3g.20gb", 4, gpu=1),))
        outcome = pool.submit(two.step).result(DEADLINE_S)
        assert not asked.done()
        assert two.instances(1) == ["3g.20gb@4"]
        assert [len(gpu.slices) for gpu in outcome.report.gpus] == [0, 1]
    finally:
        gate.open()
    asked.result(DEADLINE_S)
    two.step()
    assert two.instances(0) == ["1g.5gb@0", "3g.20gb@4"]


def test_the_kubelet_is_sent_to_a_promised_place_that_is_being_cut(two: AgentOnNode, pool: ThreadPoolExecutor) -> None:
    """Also between the end of the slice that was in the way and its own: what is gone is in nobody's way."""
    old, new = two.place("1g.5gb", 6, gpu=0), two.place("1g.5gb+me", 6, gpu=0)
    going = two.bind("old", "1g.5gb", at=(old,))
    two.step()
    two.end(going, gone=True)
    two.bind("new", "1g.5gb+me", at=(new,))
    gate = Gate(two)
    step = pool.submit(two.step)
    try:
        assert gate.reached.wait(DEADLINE_S)
        assert two.instances(0) == []
        resource = resource_name("1g.5gb+me")
        offered = [*two.allocation.offers()[resource]]
        asked = pool.submit(two.allocation.prefer, resource, offered, [], 1)
        assert asked.result(DEADLINE_S) == [device_ids.device_id(new)]
    finally:
        gate.open()
    step.result(DEADLINE_S)


def test_two_allocates_on_one_gpu_take_turns(two: AgentOnNode, pool: ThreadPoolExecutor) -> None:
    """The second waits until the first is done, and both stand."""
    gate = Gate(two)
    first = pool.submit(allocate, two, two.place("3g.20gb", 0, gpu=0))
    assert gate.reached.wait(DEADLINE_S)
    second = pool.submit(allocate, two, two.place("3g.20gb", 4, gpu=0))
    try:
        assert allocate(two, two.place("1g.5gb", 0, gpu=1)).visible
        assert not second.done()
    finally:
        gate.open()
    first.result(DEADLINE_S)
    second.result(DEADLINE_S)
    assert two.instances(0) == ["3g.20gb@0", "3g.20gb@4"]


def test_gpus_of_which_nothing_is_reported_are_left_alone(two: AgentOnNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances are listed at the start, for the GPU that the driver reports of, and for all once it is time again."""
    listed: list[str] = []
    ask = two.devices.instances

    def list_instances(gpu: str) -> tuple[GpuInstance, ...]:
        listed.append(gpu)
        return ask(gpu)

    monkeypatch.setattr(two.devices, "instances", list_instances)
    two.options = replace(two.options, discover_s=10.0)
    two.restart()
    assert listed == two.gpus
    two.step()
    assert listed == two.gpus
    two.foreign("1g.5gb", 0, gpu=1)
    two.state.on_events([DeviceEvent(two.gpus[1], EventKind.GEOMETRY_CHANGED)])
    outcome = two.step()
    assert listed[2:] == [two.gpus[1]]
    assert [len(gpu.slices) for gpu in outcome.report.gpus] == [0, 1]
    two.foreign("1g.5gb", 0, gpu=0)
    assert [len(gpu.slices) for gpu in two.step(10.0).report.gpus] == [1, 1]
    assert listed[3:] == two.gpus


def test_what_was_reported_of_a_busy_gpu_is_looked_at_later(two: AgentOnNode, pool: ThreadPoolExecutor) -> None:
    """A step that finds somebody else at work on the GPU leaves the look to the next one."""
    two.options = replace(two.options, discover_s=1000.0)
    two.restart()
    with two.state.gpu_locks.hold([two.gpus[0]]), two.state.lock.released():
        two.foreign("1g.5gb", 0)
        two.state.on_events([DeviceEvent(two.gpus[0], EventKind.GEOMETRY_CHANGED)])
        assert pool.submit(two.step).result(DEADLINE_S).report.gpus[0].slices == ()
    assert len(two.step().report.gpus[0].slices) == 1


def test_whoever_has_no_turn_is_told(pool: ThreadPoolExecutor) -> None:
    """A turn that is taken is not waited for where it need not be, and is free again afterwards."""
    gpu_locks = GpuLocks(Lock())

    def is_free() -> bool:
        with gpu_locks.try_hold("GPU-a") as mine:
            return mine

    with gpu_locks.hold(["GPU-b", "GPU-a", "GPU-a"]):
        assert pool.submit(is_free).result(DEADLINE_S) is False
    assert pool.submit(is_free).result(DEADLINE_S) is True


def test_the_lock_is_laid_down_by_its_holder_only(pool: ThreadPoolExecutor) -> None:
    """Aside, others get the lock; a thread that does not have it takes and gives nothing."""
    lock = Lock()

    def take() -> bool:
        with lock.released(), lock:
            return True

    with lock:
        with lock.released():
            assert pool.submit(take).result(DEADLINE_S)
        waiting: Future[bool] = pool.submit(take)
        assert not waiting.done()
    assert waiting.result(DEADLINE_S)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take over from one another as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("seed", range(4))
def test_threads_in_any_order_share_nothing(tmp_path: Path, seed: int) -> None:
    """Steps and Allocates on three GPUs from four threads leave records that agree with the GPUs and do not overlap."""
    node = AgentOnNode(tmp_path, "a100-40gb:3")
    stop = threading.Event()

    def steps() -> None:
        while not stop.is_set():
            node.state.on_pods({})
            node.state.on_listing(node.listing())
            node.now += 0.1
            node.agent.step()

    def allocates(number: int) -> int:
        draw, done = random.Random(f"{seed} {number}"), 0
        for _ in range(150):
            catalogue = node.driver.by_index()[0].catalogue
            placement = draw.choice(list(catalogue.placements()))
            with suppress(AllocationError):
                allocate(node, GpuPlacement(node.gpus[draw.randrange(3)], placement))
                done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        stepping = pool.submit(steps)
        working = [pool.submit(allocates, n) for n in range(3)]
        try:
            assert sum(future.result(60) for future in working) > 0
        finally:
            stop.set()
        stepping.result(DEADLINE_S)
    for one, other in combinations(node.journal.records, 2):
        assert one.gpu != other.gpu or not one.placement.overlaps(other.placement)
    for place, record in node.journal.records.items():
        there = node.instance(place)
        assert there is not None
        assert there.whole
        assert record.gi_id == there.gi_id
        assert record.state in {RecordState.IDLE, *HELD}
    standing = sum(len(node.instances(n)) for n in range(3))
    assert standing == len(node.journal.records)
