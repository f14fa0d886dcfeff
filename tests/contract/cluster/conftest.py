"""The two clusters that the contract of the Kubernetes ports is checked on: in memory, and the genuine API server."""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubeclient.kube import Connection
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Cluster
from simulator.cluster.api import POD, Api, Document
from simulator.cluster.kube_api import KubeApi
from simulator.cluster.memory_cluster.client import MemoryApi, MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from testbed.control_plane.control_plane import ControlPlane

CRDS = [Path(__file__).parents[3] / "deploy" / "crd" / f"{plural}.yaml" for plural in ("mignodes", "repacks")]


@dataclass(frozen=True)
class Ports:
    """Both ports of one cluster. Names of objects end in `suffix`, so that tests can share a cluster."""

    api: Api
    cluster: Cluster
    suffix: str

    def name(self, stem: str) -> str:
        """A name of this test's own."""
        return f"{stem}-{self.suffix}"

    def pod(self, stem: str = "pod", **spec: Any) -> Document:
        """A pod to be created."""
        containers = spec.pop("containers", [{"name": "main", "image": "none"}])
        meta = {"name": self.name(stem), "namespace": "default"}
        return {"metadata": meta, "spec": {"containers": containers, "terminationGracePeriodSeconds": 5, **spec}}

    def node(self, stem: str = "node") -> Document:
        """A node to be created."""
        return {"metadata": {"name": self.name(stem)}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}}

    async def created(self, stem: str = "pod", **spec: Any) -> Document:
        """A pod that was created."""
        return await self.api.create(POD, self.pod(stem, **spec))


@pytest.fixture(scope="session")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("contract")) as started:
        for crd in CRDS:
            started.apply(crd)
        yield started


@pytest.fixture(params=["memory", pytest.param("genuine", marks=pytest.mark.e2e)])
async def ports(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    suffix = uuid.uuid4().hex[:8]
    if request.param == "memory":
        server = MemoryServer()
        yield Ports(MemoryApi(server), MemoryCluster(server), suffix)
        return
    control_plane: ControlPlane = request.getfixturevalue("genuine")
    connection = await Connection.connect(control_plane.kubeconfig)
    yield Ports(KubeApi(connection), KubeClient(connection), suffix)
    await connection.close()
