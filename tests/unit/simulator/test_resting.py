"""Waiting for a cluster to come to rest ends, whatever the cluster does."""

import asyncio
from collections.abc import Callable

import pytest

from simulator import resting


class Cluster:
    """Settles when the test says so; its version is what `version_now` says."""

    def __init__(self, version_now: Callable[[], int] = lambda: 0) -> None:
        self.rests = asyncio.Event()
        self.ended = False
        self._version_now = version_now

    @property
    def version(self) -> int:
        """See Settling."""
        return self._version_now()

    async def settled(self) -> None:
        """See Settling."""
        try:
            await self.rests.wait()
        finally:
            self.ended = True


async def test_a_cluster_that_settles_has_come_to_rest() -> None:
    """The answer is yes as soon as everything has settled."""
    cluster = Cluster()
    cluster.rests.set()
    assert await resting.comes_to_rest(cluster, still_s=60, limit_s=60)


async def test_a_cluster_in_which_nothing_happens_is_given_up() -> None:
    """Without a write for a while the answer is no, long before the limit, and nothing is left running."""
    cluster = Cluster()
    assert not await asyncio.wait_for(resting.comes_to_rest(cluster, still_s=0.01, limit_s=3600), 60)
    assert cluster.ended


async def test_a_cluster_in_which_much_happens_is_given_up_at_the_limit() -> None:
    """Writes keep the wait going, but not past its limit."""
    numbers = iter(range(10**9))
    cluster = Cluster(lambda: next(numbers))
    assert not await asyncio.wait_for(resting.comes_to_rest(cluster, still_s=0.001, limit_s=0.05), 60)
    assert cluster.ended


async def test_a_failure_while_settling_is_raised() -> None:
    """What goes wrong in the cluster is not taken for rest."""

    class Failing(Cluster):
        async def settled(self) -> None:
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await resting.comes_to_rest(Failing(), still_s=60, limit_s=60)
