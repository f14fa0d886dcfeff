"""Run simulated components for as long as a block of code lasts. Used by the demo, the local cluster and tests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(*components: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Components run beside the block and are cancelled after it; one that fails ends the block and all others.

    Raises ExceptionGroup with what failed.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(component) for component in components]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
