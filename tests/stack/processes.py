"""The story's servers as plain processes, where no real node can run: pods are placed, and a process stands for each.

Nodes, kubelets and agents are simulated; the control plane, the queue, Dynamo and Triton are the real ones.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from allocator.mig import gpu_models
from simulator.cluster import queue_policy
from simulator.workloads import dynamo_objects, manifests
from testbed import processes
from testbed.consumers import dynamo, triton
from testbed.consumers.ingress import Upstream
from testbed.consumers.packages import Packages
from testbed.control_plane import ports
from testbed.control_plane.control_plane import ControlPlane
from testbed.progress import Progress
from tests.e2e.real_node.consumers import MODEL as SERVED_MODEL
from tests.e2e.scheduling.stack import DEPLOY, MODEL, Stack

_TICK_S = 0.25
_GPUS = 8


class Processes:
    """Dynamo and Triton as processes, one for each pod that has a node."""

    kind = "processes, one for each pod that is placed; kubelets and GPUs are simulated"

    def __init__(self, stack: Stack, packages: Packages, directory: Path) -> None:
        self._stack = stack
        self._triton = triton.Triton(packages, directory / "triton")
        self._triton.write()
        self._dynamo = dynamo.Dynamo(packages, directory / "model")
        self._dynamo.write()
        self._discovery = str(directory / "discovery")
        self._supervisor = processes.Supervisor(directory / "servers")
        self._ports: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="processes", daemon=True)
        self._thread.start()
        self.api_url = stack.api_url

    def close(self) -> None:
        """End every process."""
        self._over.set()
        self._thread.join()
        self._supervisor.stop()

    def apply(self, workers: int, servers: int) -> None:
        """Have so many Dynamo workers and Triton servers."""
        (graph,) = manifests.read(DEPLOY / "examples" / "dynamo-graph.yaml")
        objects = dynamo_objects.objects(graph, "default")
        objects += [found.body for found in manifests.read(DEPLOY / "examples" / "triton-1g.yaml")]
        counts = {"qwen-frontend": 1, "qwen-vllmworker": workers, "triton-1g": servers}
        for document in objects:
            if document["kind"] == "Deployment":
                document["spec"]["replicas"] = counts[document["metadata"]["name"]]
        self._stack.plane.apply(objects)

    def frontends(self) -> list[Upstream]:
        """Of Dynamo."""
        return self._endpoints("qwen-frontend")

    def servers(self) -> list[Upstream]:
        """Of Triton."""
        return self._endpoints("triton-1g")

    def workers(self) -> int:
        """How many workers listen."""
        return len(self._endpoints("qwen-vllmworker"))

    def explain(self, tell: Callable[[str], None]) -> None:
        """Tell the pods' states."""
        tell(self._stack.plane.kubectl("get", "pods", "--all-namespaces", "--output=wide").stdout)

    def slices(self) -> dict[str, str]:
        """The MIG UUID of each pod, as the MigNodes say."""
        listed = json.loads(self._stack.plane.kubectl("get", "mignodes", "--output=json").stdout)["items"]
        return {
            cut["owner"]["pod"]: cut["migUUID"]
            for node in listed
            for gpu in node["status"]["gpus"]
            for cut in gpu.get("slices") or ()
            if cut["state"] == "allocated" and cut.get("owner")
        }

    def _endpoints(self, workload: str) -> list[Upstream]:
        return [
            Upstream(pod, lambda port=port: _connect(port))  # type: ignore[misc]
            for pod, port in self._ports.items()
            if pod.startswith(f"{workload}-") and _listens(port)
        ]

    def _follow(self) -> None:
        """Start a process for each pod that has a node, and its slice where it asks for one; end those of pods gone."""
        while not self._over.wait(_TICK_S):
            pods = {pod["metadata"]["name"]: pod for pod in self._stack.pods() if pod["spec"].get("nodeName")}
            slices = self.slices()
            for name, pod in pods.items():
                if name not in self._ports and (name in slices or not _asks(pod)):
                    self._start(name, pod, slices.get(name, ""))
            for gone in self._ports.keys() - pods.keys():
                self._process(gone).stop()
                self._ports = {name: port for name, port in self._ports.items() if name != gone}

    def _start(self, name: str, pod: dict[str, Any], uuid: str) -> None:
        port, *others = ports.choose_free(3)
        environment = {"MIGSCHED_VISIBLE_DEVICES": uuid, "HOSTNAME": name, "DYN_FILE_KV": self._discovery}
        if name.startswith("triton"):
            options = [f"--http-port={port}", f"--grpc-port={others[0]}", f"--metrics-port={others[1]}"]
            command = self._triton.command(*options)
            environment |= self._triton.environment()
        else:
            environment |= self._dynamo.environment()
            if _asks(pod):
                (profile,) = (p for p in gpu_models.find(MODEL).profiles if p.resource in _asks(pod))
                command = self._dynamo.worker(SERVED_MODEL, profile, "--discovery-backend=file")
                environment["DYN_SYSTEM_PORT"] = str(port)
            else:
                command = self._dynamo.frontend(
                    f"--http-port={port}", "--discovery-backend=file", "--migration-limit=3"
                )
        self._supervisor.start(name, command, environment)
        self._ports = {**self._ports, name: port}

    def _process(self, name: str) -> processes.Process:
        return next(process for process in self._supervisor.processes if process.name == name)


def _asks(pod: dict[str, Any]) -> dict[str, Any]:
    """What a pod's container asks for of slices."""
    limits = pod["spec"]["containers"][0]["resources"].get("limits", {})
    return {name: count for name, count in limits.items() if name.startswith("nvidia.com/mig-")}


def _connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), _connect(port):
        return True
    return False


@contextmanager
def started(directory: Path, packages: Packages, tell: Progress) -> Iterator[Processes]:
    """A control plane, one simulated node, and the queue."""
    with ControlPlane(directory / "c", progress=tell) as plane, ExitStack() as cleanup:
        plane.start_controller_manager()
        plane.apply(DEPLOY / "options" / "queue" / "gate.yaml")
        queue_policy.wait_until(plane, gates=True)
        plane.start_scheduler()
        stack = cleanup.enter_context(closing(Stack(plane, 1, _GPUS)))
        stack.serve(queue=True)
        yield cleanup.enter_context(closing(Processes(stack, packages, directory)))
