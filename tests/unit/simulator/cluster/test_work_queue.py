"""WorkQueue: each key once, never by two at a time, again if asked again, later if it failed."""

import asyncio

from allocator import errors
from simulator.cluster.running import running
from simulator.cluster.work_queue import WorkQueue
from tests.waiting import eventually


async def test_a_key_asked_for_twice_is_done_once() -> None:
    """Asking again for a key that waits changes nothing."""
    queue = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    queue.done("a")
    queue.done("b")
    assert queue.idle


async def test_a_key_asked_for_while_at_work_is_done_again_after() -> None:
    """No two workers have one key, and nothing that was asked for is lost."""
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.done("a")
    assert await waiting == "a"


async def test_failed_work_is_done_again() -> None:
    """A key that the API server would not do is tried until it does."""
    queue, tries = WorkQueue(), []

    async def work(key: str) -> None:
        tries.append(key)
        if len(tries) < 3:
            raise errors.UnreachableError("not now")

    queue.add("a")
    async with running(queue.work(work, retry_s=0.001)):
        await eventually(lambda: queue.idle, "the work is done")
    assert tries == ["a"] * 3


async def test_later_counts_once() -> None:
    """A key put off several times is due once, at the first of the times, and the queue is not idle until then."""
    queue = WorkQueue()
    queue.add_after("a", 0.001)
    queue.add_after("a", 1000.0)
    assert not queue.idle
    assert await asyncio.wait_for(queue.get(), 10) == "a"
    queue.done("a")
    assert queue.idle
