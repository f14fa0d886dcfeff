"""Whose question is next: clients take turns, and the one that asks the most gives way."""

import asyncio
from collections.abc import Coroutine

import pytest

from scheduler.fair_queue import FairQueue
from scheduler.planner.port import BusyError


def queue(most_waiting: int) -> FairQueue:
    """A queue before one worker."""
    return FairQueue(1, most_waiting, lambda waiting: BusyError(waiting, 1), lambda: None)


class Asking:
    """Questions, and the order in which they got their place."""

    def __init__(self, queue: FairQueue) -> None:
        self._queue = queue
        self.served: list[str] = []

    async def ask(self, client: str) -> asyncio.Task[None]:
        """A question that waits, or has its place."""
        task = asyncio.create_task(self._wait(client))
        await asyncio.sleep(0)
        return task

    def _wait(self, client: str) -> Coroutine[None, None, None]:
        async def wait() -> None:
            await self._queue.enter(client)
            self.served.append(client)

        return wait()

    async def finish(self, questions: int) -> None:
        """End so many questions, one after the other."""
        for _ in range(questions):
            self._queue.leave()
            await asyncio.sleep(0)


async def test_clients_take_turns() -> None:
    """A client with many questions waits after each of them for every other client."""
    asking = Asking(queue(most_waiting=8))
    for client in ("a", "a", "a", "a", "b", "b", "c"):
        await asking.ask(client)
    await asking.finish(6)
    assert asking.served == ["a", "a", "b", "c", "a", "b", "a"]


async def test_who_asks_most_gives_way_in_a_full_queue() -> None:
    """A newcomer takes the last place of the client that has most of them, until each has as many."""
    fair = queue(most_waiting=4)
    asking = Asking(fair)
    greedy = [await asking.ask("greedy") for _ in range(5)]
    await asking.ask("b")
    with pytest.raises(BusyError):
        await greedy[4]
    await asking.ask("b")
    with pytest.raises(BusyError):
        await greedy[3]
    with pytest.raises(BusyError):
        await (await asking.ask("b"))
    assert fair.waiting == 4
    await asking.finish(4)
    assert asking.served == ["greedy", "greedy", "b", "greedy", "b"]


async def test_a_client_alone_is_refused_when_the_queue_is_full() -> None:
    """One client may use the whole queue while nobody else asks, and no more than that."""
    asking = Asking(queue(most_waiting=1))
    await asking.ask("a")
    await asking.ask("a")
    with pytest.raises(BusyError, match="1 questions wait"):
        await (await asking.ask("a"))


async def test_a_question_that_is_given_up_takes_no_turn() -> None:
    """Cancelled while it waits it is forgotten; cancelled with its place, the place goes to the next."""
    fair = queue(most_waiting=4)
    asking = Asking(fair)
    await asking.ask("a")
    gone, last = await asking.ask("b"), await asking.ask("c")
    assert fair.others_wait("a")
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert fair.waiting == 1
    given = await asking.ask("d")
    fair.leave()  # c has the place and does not know it yet
    last.cancel()
    await asyncio.gather(last, given, return_exceptions=True)
    assert asking.served == ["a", "d"]
    assert not fair.others_wait("a")
