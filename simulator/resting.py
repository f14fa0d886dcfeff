"""Resting: waits until a cluster comes to rest, and gives up on one in which nothing happens any more. Called by demos.

A pod that waits for something that never comes would keep the caller waiting for as long as its deadline, however
small the cluster. So it ends once nothing was written for a while.
"""

import asyncio
import contextlib
from typing import Protocol

STILL_S = 10.0  # without a write: agents, kubelets and the scheduler retry several times in it
LIMIT_S = 120.0  # in all, however much happens


class Settling(Protocol):
    """What is waited for."""

    @property
    def version(self) -> int:
        """A number that grows with every write."""

    async def settled(self) -> None:
        """Until nothing is under way."""


async def comes_to_rest(cluster: Settling, *, still_s: float = STILL_S, limit_s: float = LIMIT_S) -> bool:
    """Whether everything settles, before `still_s` pass without a write and `limit_s` in all (both in seconds)."""
    settled = asyncio.create_task(cluster.settled())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                return await _settles(cluster, settled, still_s)
        return False
    finally:
        settled.cancel()
        await asyncio.wait((settled,))


async def _settles(cluster: Settling, settled: asyncio.Task[None], still_s: float) -> bool:
    while True:
        version = cluster.version
        done, _ = await asyncio.wait((settled,), timeout=still_s)
        if done:
            settled.result()
            return True
        if cluster.version == version:
            return False
