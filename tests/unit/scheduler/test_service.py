"""The service as a process: it ends when it can no longer know the cluster, and leaves nothing open."""

import asyncio
import signal
import socket
from collections.abc import Iterator

import pytest

from allocator import errors
from scheduler import service, settings
from scheduler.cache import kube
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.settings import Settings
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer

DEADLINE_S = 20


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryCluster]:
    """What the service connects to; the signal handlers that it sets are taken off again."""
    made = MemoryCluster(MemoryServer())

    async def connect(kubeconfig: object) -> MemoryCluster:
        return made

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(kube.KubeClient, "connect", connect)
    monkeypatch.setattr(service, "spare_the_collector", lambda: None)  # it is the whole process's
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


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


async def test_a_reader_that_dies_ends_the_service(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in what takes changes in does not leave a service that decides by an old picture."""

    def fail(*_: object) -> None:
        raise IndexError("a defect")

    monkeypatch.setattr(ClusterCache, "apply", fail)
    running = asyncio.create_task(service._run(with_ports(0, 0), None))
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
            await service._run(with_ports(free, taken.getsockname()[1]), None)
        with socket.create_server(("127.0.0.1", free)):
            assert await closed(cluster)
