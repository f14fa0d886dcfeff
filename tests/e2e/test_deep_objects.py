"""Objects that anybody may store in a genuine API server and that no recursive decoder takes: both services live on."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from allocator.placement import policy
from kubeclient.kube import Connection
from node_agent.cluster.kube import KubeClient as AgentClient
from node_agent.cluster.pod_watch import PodWatch
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import WatchedKind
from scheduler.cache.reflector import Reflector
from scheduler.metrics import Metrics
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed

pytestmark = pytest.mark.e2e

LEVELS = 9_000
NODE = "gpu-1"
PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with deploy/ applied."""
    with deployed.cluster(binaries, tmp_path_factory.mktemp("deep")) as started:
        yield started


@pytest.fixture
async def connection(cluster: ControlPlane) -> AsyncIterator[Connection]:
    """An administrator's connection."""
    made = await Connection.connect(cluster.kubeconfig)
    yield made
    await made.close()


def deep(document: dict[str, Any], api_version: str) -> bytes:
    """An object's text, with managedFields of so many levels."""
    fields = '{"f:a":' * LEVELS + "{}" + "}" * LEVELS
    manager = f'"manager":"m","operation":"Update","apiVersion":"{api_version}","fieldsType":"FieldsV1"'
    document["metadata"]["managedFields"] = "HERE"
    return json.dumps(document).replace('"HERE"', f'[{{{manager},"fieldsV1":{fields}}}]').encode()


def mig_pod(name: str) -> dict[str, Any]:
    """A pod on the node that asks for a slice."""
    return deployed.pod(name, nodeName=NODE, schedulerName="migsched", resources=deployed.SLICE)


async def until(names: set[str], seen: Callable[[], Iterable[str]]) -> None:
    """Until these names are among those that are seen."""
    async with asyncio.timeout(deployed.SECONDS):
        while not names <= set(seen()):
            await asyncio.sleep(0.02)


async def test_both_services_see_pods_beside_deep_ones(connection: Connection) -> None:
    """Pods of 9,000 levels, listed or watched, are read, and so is every pod before and after them."""
    stored = await connection.request("POST", PODS, body=deep(mig_pod("deep-listed"), "v1"))
    assert stored.count(b'{"f:a":') == LEVELS
    await connection.request("POST", PODS, body=json.dumps(mig_pod("good-listed")).encode())
    cache = ClusterCache(policy.find("mfi"), lambda: None)
    reflector = Reflector(KubeClient(connection), WatchedKind.POD, cache, Metrics())
    source = PodWatch(AgentClient(connection), NODE, lambda: None)
    following = [asyncio.create_task(reflector.run()), asyncio.create_task(source.run())]

    def scheduler_sees() -> list[str]:
        return [pod.name for pod in cache.pods.values()]

    def agent_sees() -> list[str]:
        return [pod.name for pod in (source.views() or {}).values()]

    listed = {"deep-listed", "good-listed"}
    await until(listed, scheduler_sees)
    await until(listed, agent_sees)
    await connection.request("POST", PODS, body=deep(mig_pod("deep-watched"), "v1"))
    await connection.request("POST", PODS, body=json.dumps(mig_pod("good-watched")).encode())
    watched = {"deep-watched", "good-watched"}
    await until(watched, scheduler_sees)
    await until(watched, agent_sees)
    assert not any(task.done() for task in following)
    assert not [*reflector.unreadable, *source.unreadable]
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def test_a_deep_budget_is_respected(connection: Connection) -> None:
    """A PodDisruptionBudget of 9,000 levels is read as any other."""
    spec = {"selector": {"matchLabels": {"app": "x"}}, "maxUnavailable": 1}
    for name in ("deep", "good"):
        document = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}
        text = deep(document, "policy/v1") if name == "deep" else json.dumps(document).encode()
        await connection.request("POST", BUDGETS, body=text)
    budgets = await KubeClient(connection).disruption_budgets()
    assert {budget.metadata.name for budget in budgets} == {"deep", "good"}
    assert all(budget.selects({"app": "x"}) and not budget.selects({"app": "y"}) for budget in budgets)
