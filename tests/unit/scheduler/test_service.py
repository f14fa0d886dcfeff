"""The service as a process: it ends when it can no longer know the cluster, and leaves nothing open."""

import asyncio
import socket

import pytest

from allocator import errors
from scheduler import service, settings
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.service import Service
from scheduler.settings import Settings
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer

DEADLINE_S = 20


@pytest.fixture
def cluster() -> MemoryCluster:
    """What the service follows."""
    return MemoryCluster(MemoryServer())


async def serve(cluster: MemoryCluster, chosen: Settings) -> None:
    """A service that is never told to stop."""
    await service.serve(Service(chosen, cluster), asyncio.Event())


def with_ports(extender: int, api_port: int) -> Settings:
    """Settings with these ports."""
    return settings.load(extender_port=extender, api_port=api_port, api_host="127.0.0.1")


async def closed(made: MemoryCluster) -> bool:
    """Whether the connection was given back."""
    try:
        await made.annotate_node("any", "key", "value")
    except errors.UnreachableError:
        return True
    except errors.NotFoundError:
        return False
    return False


async def test_a_reflector_that_dies_ends_the_service(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in what takes changes in does not leave a service that decides by an old picture."""

    def fail(*_: object) -> None:
        raise IndexError("a defect")

    monkeypatch.setattr(ClusterCache, "apply", fail)
    running = asyncio.create_task(serve(cluster, with_ports(0, 0)))
    while not running.done():
        async with asyncio.timeout(DEADLINE_S):
            cluster.server.create(api.NODE, {"metadata": {"generateName": "n-"}})
            await asyncio.wait((running,), timeout=0.05)
    with pytest.RaisesGroup(IndexError):
        running.result()
    assert await closed(cluster)


async def test_a_port_that_is_taken_leaves_nothing_open(cluster: MemoryCluster) -> None:
    """The error names the setting, and the connection and the other port are given back."""
    with socket.socket() as taken, socket.socket() as other:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
        other.close()
        with pytest.raises(errors.SettingsError, match="api_port"):
            await serve(cluster, with_ports(free, taken.getsockname()[1]))
        with socket.create_server(("127.0.0.1", free)):
            assert await closed(cluster)
