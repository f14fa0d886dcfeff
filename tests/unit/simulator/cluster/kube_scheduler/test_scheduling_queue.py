"""SchedulingQueue: order, back-off, and who is woken by what."""

import asyncio

import pytest

from simulator.cluster.api import Document
from simulator.cluster.kube_scheduler import queue
from simulator.cluster.kube_scheduler.queue import SchedulingQueue, Wake

LONG = 1000.0  # a back-off that no test waits out


def pod(uid: str, priority: int = 0) -> Document:
    return {"metadata": {"uid": uid}, "spec": {"priority": priority}}


def made(initial_s: float = LONG) -> SchedulingQueue:
    return SchedulingQueue(initial_backoff_s=initial_s, max_backoff_s=2 * initial_s)


async def popped(waiting: SchedulingQueue) -> str:
    return (await asyncio.wait_for(waiting.pop(), 10)).uid


async def nothing_to_pop(waiting: SchedulingQueue) -> bool:
    task = asyncio.create_task(waiting.pop())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    return not task.done()


async def test_priority_then_age() -> None:
    """The highest priority comes first; among equals, who came first."""
    waiting = made()
    for uid, priority in (("a", 0), ("b", 0), ("high", 10)):
        waiting.add(pod(uid, priority))
    assert [await popped(waiting) for _ in range(3)] == ["high", "a", "b"]


async def test_refused_pods_wait_for_what_may_help() -> None:
    """A pod refused in-tree waits for nodes or room; any change may help one that an extender refused."""
    waiting = made(initial_s=0.0)
    for uid in ("in-tree", "extender"):
        waiting.add(pod(uid))
    waiting.refused(await waiting.pop(), queue.IN_TREE)
    waiting.refused(await waiting.pop(), queue.EXTENDER)
    assert waiting.idle
    waiting.happened(Wake.OTHER)
    assert await popped(waiting) == "extender"
    assert await nothing_to_pop(waiting)
    waiting.happened(Wake.ROOM)
    assert await popped(waiting) == "in-tree"


async def test_what_happens_during_a_try_counts() -> None:
    """A pod is not refused for good on news that is older than what happened meanwhile."""
    waiting = made()
    waiting.add(pod("a"))
    trying = await waiting.pop()
    waiting.happened(Wake.NODE)
    waiting.refused(trying, queue.IN_TREE)
    assert not waiting.idle
    assert await popped(waiting) == "a"


async def test_woken_pods_need_not_wait_when_nothing_else_does() -> None:
    """With nothing active a woken pod is tried before its back-off ends; active ones come first."""
    waiting = made()
    waiting.add(pod("refused"))
    waiting.refused(await waiting.pop(), queue.EXTENDER)
    waiting.happened(Wake.NODE)
    waiting.add(pod("new"))
    assert [await popped(waiting) for _ in range(2)] == ["new", "refused"]


async def test_pods_that_met_an_error_wait_their_backoff_out() -> None:
    """An error costs the whole back-off, whatever happens."""
    waiting = made()
    waiting.add(pod("a"))
    waiting.failed(await waiting.pop())
    waiting.happened(Wake.NODE)
    assert await nothing_to_pop(waiting)
    assert not waiting.idle


async def test_backoff_ends_and_doubles() -> None:
    """A pod that met an error comes back by itself, each time after twice as long, up to the maximum."""
    waiting = SchedulingQueue(initial_backoff_s=0.01, max_backoff_s=0.04)
    waiting.add(pod("a"))
    loop = asyncio.get_running_loop()
    trying = await waiting.pop()
    for least in (0.01, 0.02, 0.04, 0.04):
        began = loop.time()
        waiting.failed(trying)
        trying = await asyncio.wait_for(waiting.pop(), 10)
        assert loop.time() - began >= least


@pytest.mark.parametrize("when", ["waiting", "trying", "refused", "failed"])
async def test_removed_pods_are_not_tried(when: str) -> None:
    """A pod that was bound or deleted never comes again, wherever it was."""
    waiting = made()
    waiting.add(pod("a"))
    if when != "waiting":
        trying = await waiting.pop()
        if when == "trying":
            waiting.remove("a")
            waiting.refused(trying, queue.EXTENDER)
        else:
            (waiting.failed if when == "failed" else lambda q: waiting.refused(q, queue.EXTENDER))(trying)
    waiting.remove("a")
    waiting.happened(Wake.NODE)
    assert waiting.idle
    assert await nothing_to_pop(waiting)


async def test_newer_version_of_a_refused_pod_wakes_it() -> None:
    """A change of a refused pod's own object is tried, with the newer object."""
    waiting = made(initial_s=0.0)
    waiting.add(pod("a"))
    waiting.refused(await waiting.pop(), queue.EXTENDER)
    newer = pod("a") | {"newer": True}
    waiting.add(newer)
    assert (await waiting.pop()).pod is newer
