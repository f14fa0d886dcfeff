"""The whole product on a genuine control plane: simulated nodes with agents and kubelets, the extender, kube-scheduler.

The asynchronous parts run in one event loop of a thread of their own, so that tests stay plain code.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from allocator.claims import contract, placement_annotation
from allocator.mig import gpu_models
from allocator.mig.profile import Placement
from config import logs
from config.fail_points import VARIABLE
from kubeclient.changes import ChangeType
from kubeclient.kube import Connection
from scheduler import settings
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Cluster
from scheduler.service import Service
from simulator.cluster import nodes
from simulator.cluster.agents import Agents
from simulator.cluster.kube_api import KubeApi
from simulator.cluster.kubelet import Kubelets
from testbed.control_plane import scheduler_config
from testbed.control_plane.control_plane import ControlPlane

DEPLOY = Path(__file__).parents[3] / "deploy"
SECONDS = 60.0
MODEL = "a100-40gb"

_T = TypeVar("_T")
Document = dict[str, Any]


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T], seconds: float = SECONDS) -> _T:
        """Do it there and wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def begin(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Start it there; what is returned cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return lambda: (future.cancel(), None)[1]

    def close(self) -> None:
        """End the loop; tasks that are left are cancelled."""

        async def rest() -> None:
            left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.run(rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Stack:
    """A control plane with a fleet of simulated nodes; the extender and kube-scheduler are started by the test."""

    def __init__(self, plane: ControlPlane, node_count: int, gpus: int) -> None:
        logs.configure("json", "warning")
        self.plane = plane
        self.fleet = nodes.uniform(node_count, gpus, MODEL, seed=1)
        self.api_url = ""
        self.extender_url = ""
        self._cleanup = ExitStack()
        try:
            self._start()
        except BaseException:  # whoever wanted it has nothing to close
            self.close()
            raise

    def _start(self) -> None:
        self.plane.apply(DEPLOY / "crd" / "mignodes.yaml")
        self.loop = LoopThread()
        self._cleanup.callback(self.loop.close)
        connection = self.loop.run(Connection.connect(self.plane.kubeconfig))
        self._cleanup.callback(lambda: self.loop.run(connection.close()))
        api = KubeApi(connection)
        self.loop.run(nodes.create(api, self.fleet))
        self.agents = Agents(api, self.fleet)
        kubelets = Kubelets(api, self.fleet, self.agents)
        self._kill_agents = self.loop.begin(self.agents.run())
        self._cleanup.callback(lambda: self._kill_agents())
        self._cleanup.callback(self.loop.begin(kubelets.run()))
        eventually(self._all_reported, "a report of every node")

    def _all_reported(self) -> bool:
        listed = json.loads(self.plane.kubectl("get", "mignodes", "--output=json").stdout)["items"]
        names = {node.name for node in self.fleet}
        return sum("status" in one and one["metadata"]["name"] in names for one in listed) == len(names)

    def close(self) -> None:
        """End everything that this stack started."""
        self._cleanup.close()

    # --- our part ---------------------------------------------------------------------------------------------------

    def serve(self, cluster: Cluster | None = None, **changes: Any) -> Service:
        """The scheduler service in this process, over the given port or the real one, synced."""

        async def start() -> Service:
            port = cluster or await KubeClient.connect(self.plane.kubeconfig)
            ports = {"extender_port": 0, "api_port": 0, "api_host": "127.0.0.1"}
            service = Service(settings.load(**{**ports, **changes}), port)
            await service.start()
            async with asyncio.timeout(SECONDS):
                await service.synced()
            return service

        service = self.loop.run(start())
        self._cleanup.callback(lambda: self.loop.run(service.stop()))
        self.extender_url, self.api_url = service.extender_url, service.api_url
        return service

    def schedule(self, extender_url: str = "", name: str = "kube-scheduler", **changes: Any) -> None:
        """Start kube-scheduler with our extender, its log under a name; `changes` are keys of the extender's
        configuration.
        """
        url = f"{extender_url or self.extender_url}/v1"
        config = scheduler_config.kube_scheduler_config(url, self.plane.kubeconfig)
        config["extenders"][0].update(changes)
        server = self.plane.start_scheduler(config, name=name)
        self._cleanup.callback(server.process.stop)

    # --- the cluster ------------------------------------------------------------------------------------------------

    def create(self, *documents: Document) -> None:
        """Create objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        self.plane.kubectl("create", "--filename=-", standard_input=text)

    def pods(self, *selectors: str) -> list[Document]:
        """Pods of the default namespace."""
        found: list[Document] = json.loads(self.plane.kubectl("get", "pods", "--output=json", *selectors).stdout)[
            "items"
        ]
        return found

    @contextmanager
    def agents_killed(self) -> Iterator[None]:
        """No agent reports anything until the block ends; then each begins again, with what is cut by then."""
        self._kill_agents()
        try:
            yield
        finally:
            self._kill_agents = self.loop.begin(self.agents.run())

    @contextmanager
    def recorded(self) -> Iterator[list[Document]]:
        """Every state of every pod that a watcher sees, in order, from now until the block ends."""
        seen: list[Document] = []

        async def record(version: str) -> None:
            connection = await Connection.connect(self.plane.kubeconfig)
            try:
                async for type_, raw in connection.watch_raw("/api/v1/namespaces/default/pods", version):
                    if type_ is not ChangeType.BOOKMARK:
                        seen.append(json.loads(bytes(raw)))
            finally:
                await connection.close()

        listing = json.loads(self.plane.kubectl("get", "--raw", "/api/v1/namespaces/default/pods?limit=1").stdout)
        stop = self.loop.begin(record(listing["metadata"]["resourceVersion"]))
        try:
            yield seen
        finally:
            stop()

    def delete(self, *names: str) -> None:
        """Delete pods at once."""
        self.plane.kubectl("delete", "pods", "--grace-period=0", "--force", *names)

    def explain(self, pod: str) -> Document:
        """What the API says of a pod."""
        with urllib.request.urlopen(f"{self.api_url}/api/v1/explain?pod={pod}", timeout=10) as answer:
            found: Document = json.load(answer)
            return found

    def clear(self) -> None:
        """Remove all workloads, and wait until nothing is cut any more."""
        kinds = "deployments,jobs,replicasets,pods,services"
        self.plane.kubectl(
            "delete", kinds, "--all", "--grace-period=0", "--force", "--wait=false", "--ignore-not-found"
        )
        eventually(lambda: not self.pods(), "all pods gone")
        eventually(lambda: not any(self.agents.in_use().values()), "all slices given back")


def pod(name: str, *profiles: str, **spec: Any) -> Document:
    """A pod with one container that asks for these profiles."""
    limits: dict[str, str] = {}
    for one in profiles:
        resource = f"nvidia.com/mig-{one.replace('+', '.')}"
        limits[resource] = str(int(limits.get(resource, "0")) + 1)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name.rsplit("-", 1)[0]}},
        "spec": {
            "schedulerName": "migsched",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
            **spec,
        },
    }


def bound(pods: Sequence[Document]) -> list[Document]:
    """Those that have a node."""
    return [one for one in pods if one["spec"].get("nodeName")]


def placements(stack: Stack, pods: Sequence[Document]) -> dict[str, list[tuple[str, Placement]]]:
    """(pod, placement) by GPU UUID as the annotations say; fails on one that is illegal, overlaps or lies elsewhere."""
    catalogue = gpu_models.find(MODEL)
    node_of = {gpu.uuid: node.name for node in stack.fleet for gpu in node.gpus}
    found: dict[str, list[tuple[str, Placement]]] = defaultdict(list)
    for one in bound(pods):
        name = one["metadata"]["name"]
        text = one["metadata"].get("annotations", {}).get(contract.PLACEMENT_ANNOTATION)
        if text is None:
            continue
        for promise in placement_annotation.decode(text, one["spec"]["nodeName"]):
            place = catalogue.placement(promise.profile, promise.start)
            assert node_of[promise.gpu] == one["spec"]["nodeName"], f"{name} is promised a GPU of another node"
            for other, taken in found[promise.gpu]:
                assert not place.overlaps(taken), f"{name} {place} overlaps {other} {taken} on {promise.gpu}"
            found[promise.gpu].append((name, place))
    return found


def eventually(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition holds; fail the test, saying what did not happen, if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class ExtenderProcess:
    """`migsched scheduler` as a process of its own, on ports that stay the same over restarts."""

    def __init__(
        self,
        kubeconfig: Path,
        directory: Path,
        extender_port: int,
        api_port: int,
        *,
        queue: bool = False,
        **more: object,
    ) -> None:
        """`more` are settings."""
        chosen = {f"MIGSCHED_{name.upper()}": str(value) for name, value in more.items()}
        self._environment = {**os.environ, "MIGSCHED_QUEUE": str(queue).lower(), **chosen}
        self._log = directory / "extender.log"
        self._command = [sys.executable, "-m", "cli", "scheduler", "--kubeconfig", str(kubeconfig)]
        self._command += ["--extender-port", str(extender_port), "--api-port", str(api_port), "--api-host", "127.0.0.1"]
        self.url = f"http://127.0.0.1:{extender_port}"
        self.api_url = f"http://127.0.0.1:{api_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, fail_points: str = "") -> None:
        """Start it and wait until it is ready, or until a fail point has ended it."""
        environment = {**self._environment, VARIABLE: fail_points}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        if fail_points:
            eventually(lambda: self.killed or self._ready(), "the extender is ready or has died")
            return
        eventually(self._ready, f"the extender is ready; its log ends\n{self._log.read_text()[-2000:]}")

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.api_url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def log(self) -> str:
        """What all processes of it have logged."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the process that was started last has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        return self._process.pid if self._process is not None else 0

    @property
    def killed(self) -> bool:
        """Whether it was ended by SIGKILL."""
        return self._process is not None and self._process.poll() == -signal.SIGKILL

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer does."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)
