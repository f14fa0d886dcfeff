import threading
import time
from collections.abc import Callable, Iterator

import pytest

from node_agent.gpu import device
from node_agent.gpu.nvml.lane import Lane, Ticket

SOON_S = 20.0


@pytest.fixture
def lane() -> Iterator[Lane]:
    made = Lane("GPU 0")
    yield made
    made.close()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until, "it never came true"


def test_work_runs_in_the_lanes_thread(lane: Lane) -> None:
    """Work is done in one thread that is not the caller's, and its result comes back."""
    names = [lane.run("look", lambda _: threading.current_thread().name, SOON_S) for _ in range(2)]
    assert names == ["GPU 0", "GPU 0"]


def test_errors_come_back(lane: Lane) -> None:
    """An error of the work is raised in the caller, and the lane goes on."""

    def fail(_: Ticket) -> None:
        raise device.NoRoomError("full")

    with pytest.raises(device.NoRoomError, match="full"):
        lane.run("cut", fail, SOON_S)
    assert lane.run("look", lambda _: 1, SOON_S) == 1


def test_overdue_work_wedges_the_lane_until_it_returns(lane: Lane) -> None:
    """Overdue work is given up, what comes meanwhile is refused at once by name, and afterwards the lane is well."""
    gate = threading.Event()
    with pytest.raises(device.DeadlineExceededError, match="GPU 0: cut"):
        lane.run("cut", lambda _: gate.wait(), 0.05)
    assert lane.wedged
    with pytest.raises(device.DeadlineExceededError, match="cut is overdue"):
        lane.run("look", lambda _: pytest.fail("it ran"), SOON_S)
    gate.set()
    eventually(lambda: not lane.wedged)
    assert lane.run("look", lambda _: 1, SOON_S) == 1


def test_late_result_is_undone(lane: Lane) -> None:
    """A result that nobody waits for any more is taken back before the lane is used again."""
    gate = threading.Event()
    undone: list[str] = []

    def cut(_: Ticket) -> str:
        gate.wait()
        return "slice"

    with pytest.raises(device.DeadlineExceededError):
        lane.run("cut", cut, 0.05, undone.append)
    gate.set()
    eventually(lambda: not lane.wedged)
    assert undone == ["slice"]


def test_result_in_time_is_kept(lane: Lane) -> None:
    """A result in time is not undone."""
    assert lane.run("cut", lambda _: "slice", SOON_S, lambda _: pytest.fail("it was undone")) == "slice"


def test_undo_that_fails_does_not_end_the_lane(lane: Lane) -> None:
    """When even taking back fails, the lane is usable again."""
    gate = threading.Event()

    def undo(_: bool) -> None:
        raise device.DeviceBusyError("held")

    with pytest.raises(device.DeadlineExceededError):
        lane.run("cut", lambda _: gate.wait(), 0.05, undo)
    gate.set()
    eventually(lambda: not lane.wedged)
    assert lane.run("look", lambda _: 1, SOON_S) == 1


def test_work_learns_that_nobody_waits(lane: Lane) -> None:
    """Work in several steps stops at the next one when its caller has given up."""
    gate = threading.Event()
    reached: list[str] = []

    def cut(ticket: Ticket) -> None:
        ticket.check()
        reached.append("first")
        gate.wait()
        ticket.check()
        reached.append("second")

    with pytest.raises(device.DeadlineExceededError):
        lane.run("cut", cut, 0.05)
    gate.set()
    eventually(lambda: not lane.wedged)
    assert reached == ["first"]


def test_waiting_for_a_turn_counts(lane: Lane) -> None:
    """Who does not get his turn within his deadline is told what the lane is busy with, and wedges nothing."""
    gate, begun = threading.Event(), threading.Event()

    def work(_: Ticket) -> None:
        begun.set()
        gate.wait()

    patient = threading.Thread(target=lane.run, args=("cut", work, SOON_S), daemon=True)
    patient.start()
    begun.wait()
    with pytest.raises(device.DeadlineExceededError, match="busy: cut"):
        lane.run("look", lambda _: 1, 0.05)
    assert not lane.wedged
    gate.set()
    patient.join()
    assert lane.run("look", lambda _: 1, SOON_S) == 1
