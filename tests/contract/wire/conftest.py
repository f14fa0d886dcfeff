"""A running scheduler service over a cluster in memory, and a client that speaks to it as kube-scheduler does."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from allocator.claims import contract
from scheduler import settings
from scheduler.service import Service
from simulator.cluster import api
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node

Document = dict[str, Any]


class Wire:
    """The service and its cluster. `post` gives status and decoded answer."""

    def __init__(self, server: MemoryServer, service: Service, client: httpx.AsyncClient) -> None:
        self.server = server
        self.service = service
        self.client = client

    async def post(self, verb: str, body: Any) -> tuple[int, Any]:
        """POST to a verb; bytes go as they are."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = await self.client.post(f"{self.service.extender_url}/v1/{verb}", content=content)
        return answer.status_code, answer.json() if answer.content else None

    async def filter(self, pod: Document, *names: str) -> Document:
        """A filter call with node names."""
        status, answer = await self.post("filter", {"Pod": pod, "Nodes": None, "NodeNames": list(names)})
        assert status == 200
        assert isinstance(answer, dict)
        return answer

    async def get(self, path: str) -> httpx.Response:
        """GET from the API."""
        return await self.client.get(f"{self.service.api_url}{path}")


def add_node(server: MemoryServer, name: str, status: Document | None = None) -> None:
    """A node with one empty A100-40GB, or with the MigNode status given."""
    allocatable = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "500Gi", "pods": "110"}
    server.create(api.NODE, {"metadata": {"name": name}, "status": {"allocatable": allocatable}})
    if status is None:
        seen = node(name).gpu("a100-40gb").report()
        status = contract.encode_status(seen, agent_version="test", mode="simulated")
    server.create(api.MIG_NODE, {"metadata": {"name": name}})
    server.patch_status(api.MIG_NODE, name, {"status": status})


def pod(name: str, limits: Document | None = None, **metadata: Any) -> Document:
    """A pod as kube-scheduler sends it."""
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **metadata},
        "spec": {
            "schedulerName": "migsched",
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits or {}}}],
        },
    }


@pytest.fixture
def server() -> MemoryServer:
    """A cluster of two nodes with a GPU each, and one node without an agent."""
    made = MemoryServer()
    add_node(made, "node-1")
    add_node(made, "node-2")
    made.create(api.NODE, {"metadata": {"name": "no-agent"}})
    return made


@pytest.fixture
async def wire(server: MemoryServer) -> AsyncIterator[Wire]:
    """The service over that cluster, synced."""
    service = Service(
        settings.load(extender_port=0, api_port=0, api_host="127.0.0.1", max_body_mib=32), MemoryCluster(server)
    )
    await service.start()
    await service.synced()
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        yield Wire(server, service, client)
    await service.stop()
