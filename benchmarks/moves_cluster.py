"""The cluster of the benchmark `moves`: a genuine control plane with a stock kube-scheduler, our service with its queue
and moves, and simulated kubelets and agents. Jobs are ReplicaSets of one pod, since only such pods may be moved.

Called by `benchmarks.moves`.
"""

import asyncio
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from allocator import errors
from allocator.claims import contract
from allocator.queueing.queued_pod import GATE
from benchmarks import scheduler_load
from benchmarks.benchmark import Progress
from benchmarks.deployed import CRD, REPACKS_CRD
from benchmarks.servers.service_process import ServiceProcess
from kubeclient.kube import MERGE_PATCH, Connection
from scheduler.cache.kube import PATHS
from scheduler.cache.port import WatchedKind
from simulator.cluster import nodes
from simulator.cluster.agents import Agents
from simulator.cluster.kube_api import KubeApi
from simulator.cluster.kubelet import Kubelets
from simulator.cluster.running import running
from testbed.control_plane import build, scheduler_config
from testbed.control_plane.control_plane import ControlPlane

_SETS = f"/apis/apps/v1/namespaces/{scheduler_load.NAMESPACE}/replicasets"
_REPACKS = PATHS[WatchedKind.REPACK]
_POLL_S = 0.02
_LIMIT_S = 120.0  # for one thing that is sure to happen
_NO_ROOM = frozenset({"full", "fragmented"})
_UNDECIDED = ("not planned", "no plan was found in time")  # how the message of a Repack begins that is planned again

Document = dict[str, Any]


class MovesCluster:
    """A running one."""

    def __init__(self, connection: Connection, agents: Agents, api_url: str) -> None:
        self.connection = connection
        self._agents = agents
        self._api_url = api_url

    # --- jobs

    async def begin(self, job: str, profile: str, selector: Mapping[str, str] | None = None, replicas: int = 1) -> None:
        """A job's ReplicaSet."""
        pod = scheduler_load.pod("", "default-scheduler", f"nvidia.com/mig-{profile}", GATE)
        meta = {"labels": {"job": job}, "annotations": {contract.MOVABLE_ANNOTATION: "true"}}
        spec = {**pod["spec"], "nodeSelector": dict(selector or {})}
        body = {
            "metadata": {"name": job},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"job": job}},
                "template": {"metadata": meta, "spec": spec},
            },
        }
        await self.connection.request("POST", _SETS, body=msgspec.json.encode(body))

    async def end(self, job: str) -> None:
        """It is over: its pod is gone, and the service knows that its slice is free."""
        await self.connection.request("DELETE", f"{_SETS}/{job}")
        pods = await self.pods(job)
        await scheduler_load.delete_pods(self.connection, [pod["metadata"]["name"] for pod in pods])
        await self.until(lambda: self._is_free(job), f"the slice of {job} is free")

    async def pods(self, job: str) -> Sequence[Document]:
        """A job's pods that are not being deleted."""
        query = {"labelSelector": f"job={job}"}
        listing = msgspec.json.decode(await self.connection.request("GET", scheduler_load.PODS, query=query))
        return [pod for pod in listing["items"] if "deletionTimestamp" not in pod["metadata"]]

    async def pod(self, job: str) -> Document:
        """Its pod, once there is one."""
        found: list[Document] = []

        async def there() -> bool:
            found[:] = await self.pods(job)
            return bool(found)

        await self.until(there, f"a pod of {job}")
        return found[0]

    async def runs(self, job: str) -> bool:
        """Whether all of its pods run."""
        pods = await self.pods(job)
        return bool(pods) and all(pod["status"].get("phase") == "Running" for pod in pods)

    async def fits(self, job: str) -> bool:
        """Whether its pod gets a place without anything else; known once it runs or the service says why not."""
        name = (await self.pod(job))["metadata"]["name"]
        answer: list[bool] = []

        async def known() -> bool:
            said = await self._asked(f"/api/v1/explain?pod={scheduler_load.NAMESPACE}/{name}")
            if said.get("code") in _NO_ROOM:
                answer[:] = [False]
            elif await self.runs(job):
                answer[:] = [True]
            return bool(answer)

        await self.until(known, f"{job} runs or is refused")
        return answer[0]

    async def _is_free(self, job: str) -> bool:
        reported = await self._asked("/api/v1/nodes")
        owners = (slice_["pod"] for node in reported for gpu in node["gpus"] for slice_ in gpu["slices"])
        return not await self.pods(job) and not any(owner.startswith(f"{job}-") for owner in owners)

    # --- moves

    async def repack(self, name: str, spec: Mapping[str, Any]) -> None:
        """A Repack that is carried out without asking."""
        body = {
            "apiVersion": f"{contract.GROUP}/{contract.VERSION}",
            "kind": "Repack",
            "metadata": {"name": name},
            "spec": {"mode": "Auto", **spec},
        }
        await self.connection.request("POST", _REPACKS, body=msgspec.json.encode(body))

    async def repacked(self, name: str, poll_s: float = _POLL_S) -> Document:
        """Its status once it has ended, or there is no plan as things are; then it is deleted.

        The API server is asked every `poll_s` seconds, which costs it something.
        """
        status: Document = {}

        async def ended() -> bool:
            document = msgspec.json.decode(await self.connection.request("GET", f"{_REPACKS}/{name}"))
            status.clear()
            status.update(document.get("status") or {})
            return _has_ended(status)

        await self.until(ended, f"the Repack {name} ends", poll_s)
        await self.connection.request("DELETE", f"{_REPACKS}/{name}")
        return status

    async def label(self, node: str, labels: Mapping[str, str]) -> None:
        """Give a node labels."""
        body = msgspec.json.encode({"metadata": {"labels": dict(labels)}})
        await self.connection.request("PATCH", f"{PATHS[WatchedKind.NODE]}/{node}", body=body, content_type=MERGE_PATCH)

    # --- waiting

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, poll_s: float = _POLL_S) -> None:
        """Until it is so. Raises TimeoutError naming what did not happen."""
        deadline = time.perf_counter() + _LIMIT_S
        while not await condition():
            if time.perf_counter() > deadline:
                raise TimeoutError(f"not within {_LIMIT_S:g} s: {what}")
            await asyncio.sleep(poll_s)

    async def has_only(self, slices: int) -> bool:
        """Whether containers have so many slices, and no more."""
        return sum(map(len, self._agents.in_use().values())) <= slices

    async def _asked(self, path: str) -> Any:
        def ask() -> Any:
            try:
                with urllib.request.urlopen(self._api_url + path, timeout=_LIMIT_S) as answer:
                    return msgspec.json.decode(answer.read())
            except urllib.error.HTTPError:  # it does not know the pod yet
                return {}

        return await asyncio.to_thread(ask)


def _has_ended(status: Document) -> bool:
    phase, message = status.get("phase"), status.get("message", "")
    return phase in ("Done", "Failed") or (phase == "Waiting" and not message.startswith(_UNDECIDED))


@asynccontextmanager
async def start(names: int, gpus: int, progress: Progress = lambda _: None) -> AsyncIterator[MovesCluster]:
    """A cluster of equal nodes, `node-1` and so on, as long as the block. Raises BuildError, StartError."""
    fleet = nodes.uniform(names, gpus, scheduler_load.MODEL, seed=1)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsched-moves-")))
        binaries = await asyncio.to_thread(build.ensure_built, progress)
        progress(f"moves: starting a control plane with {names} nodes")
        plane = await stack.enter_async_context(ControlPlane(directory / "plane", binaries=binaries))
        for definitions in (CRD, REPACKS_CRD):
            await asyncio.to_thread(plane.apply, definitions)
        await asyncio.to_thread(plane.start_controller_manager)
        connection = await Connection.connect(plane.kubeconfig)
        stack.push_async_callback(connection.close)
        api = KubeApi(connection)
        await nodes.create(api, fleet)
        agents = Agents(api, fleet)
        await stack.enter_async_context(running(agents.run(), Kubelets(api, fleet, agents).run()))
        service = stack.enter_context(ServiceProcess(plane.kubeconfig, directory, queue=True, moves=True))
        await asyncio.to_thread(service.wait_ready)
        server = await asyncio.to_thread(plane.start_scheduler, scheduler_config.stock(plane.kubeconfig))
        stack.callback(server.process.stop)
        cluster = MovesCluster(connection, agents, service.api_url)
        await cluster.until(lambda: _is_reported(connection, names), "a report of every node")
        yield cluster


async def _is_reported(connection: Connection, names: int) -> bool:
    try:
        listing = msgspec.json.decode(await connection.request("GET", PATHS[WatchedKind.MIG_NODE]))
    except errors.NotFoundError:
        return False
    return sum("status" in item for item in listing["items"]) == names
