"""Cooperative yielding: long work on the event loop in small steps, so that a filter call never waits for it.

Used by the cache and the API, whose lists and answers about a large cluster take longer than a filter call may. For the
same reason large answers stay in blocks: to make one piece of 20 MB takes 20 ms.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

STEP_S = 0.0005  # the longest that other tasks have to wait, beside one item of the work

BLOCK = 2**16  # bytes

T = TypeVar("T")


async def paced(items: Iterable[T], step_s: float = STEP_S) -> AsyncIterator[T]:
    """The items, with the loop given back after each step. What they come from must not change meanwhile."""
    began = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - began > step_s:
            await asyncio.sleep(0)
            began = time.perf_counter()


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended; what they died of is theirs."""
    ending = tuple(tasks)  # they may leave the collection that they come from as they end
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def blocks(parts: AsyncIterator[bytes], size: int = BLOCK) -> list[bytes]:
    """Small parts put together to blocks of about this size."""
    full: list[bytes] = []
    block = bytearray()
    async for part in parts:
        block += part
        if len(block) >= size:
            full.append(bytes(block))
            block.clear()
    return [*full, bytes(block)]
