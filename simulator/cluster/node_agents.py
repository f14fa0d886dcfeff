"""NodeAgents: the real node agents of a small fleet, each on a simulated node of its own, in one process.

Used by the demo, the local cluster and tests. `agents` stands in for them where a fleet is too large.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from allocator.mig.profile import Placement
from kubeclient.objects import Pod
from node_agent.cluster.port import Cluster
from simulator.cluster.node_machine import NodeMachine
from simulator.cluster.nodes import SimulatedNode
from simulator.gpu.driver import SimulatedDriver

MOST_NODES = 16
_THREADS = 4  # of one agent at a time: one waits for the driver's events, the others step and answer the kubelet
_LONGEST = 40  # characters of the path of a folder in which sockets can lie: theirs end after 107


class NodeAgents:
    """One agent per node. `connect` gives each its port to Kubernetes.

    In `directory` lies what outlives a run: journals, and what kubelets gave to whom. Without it nothing does.
    """

    def __init__(
        self,
        fleet: Sequence[SimulatedNode],
        connect: Callable[[SimulatedNode], Cluster],
        directory: Path | None = None,
    ) -> None:
        self._fleet = fleet
        self._connect = connect
        self._directory = directory
        self.folder = Path()  # where the sockets lie, while it runs
        self._machines: dict[str, NodeMachine] = {}
        self._on = asyncio.Event()
        self._problems: dict[str, str] = {}  # UID → why the kubelet did not admit the pod

    def title(self) -> str:
        """What runs, in words."""
        return "real"

    async def run(self) -> None:
        """Until cancelled."""
        with _short_folder() as self.folder:
            async with _threads(len(self._fleet)):
                for number, node in enumerate(self._fleet):
                    self._machines[node.name] = NodeMachine(node, self._connect(node), self._place(number, node))
                self._on.set()
                async with asyncio.TaskGroup() as group:
                    for machine in self._machines.values():
                        group.create_task(machine.run())

    async def ready(self) -> None:
        """Until every agent has announced its devices to its kubelet."""
        await self._on.wait()
        for machine in self._machines.values():
            await machine.kubelet.registered.wait()

    def _place(self, number: int, node: SimulatedNode) -> Path:
        place = self.folder / str(number)
        if self._directory is None:
            place.mkdir()
        else:
            (self._directory / node.name).mkdir(parents=True, exist_ok=True)
            place.symlink_to((self._directory / node.name).absolute(), target_is_directory=True)
        return place

    async def admit(self, pod: Pod) -> str:
        """The kubelet of its node gives a pod its devices. Returns why not, or nothing."""
        await self._on.wait()
        problem = await self._machines[pod.spec.node_name].kubelet.admit(pod)
        if problem:
            self._problems[pod.metadata.uid] = problem
        return problem

    def is_ready(self, uid: str, node: str) -> bool:
        """Whether the containers of an admitted pod can be created."""
        return self._machines[node].kubelet.is_ready(uid)

    def release(self, uid: str, node: str) -> None:
        """A pod's containers have ended."""
        self._problems.pop(uid, None)
        if node in self._machines:
            self._machines[node].kubelet.release(uid)

    def retain(self, living: Iterable[str]) -> None:
        """Only these pods are left."""
        living = set(living)
        for machine in self._machines.values():
            machine.kubelet.retain(living)

    def problem(self, uid: str) -> str:
        """Why a pod was not given its devices, or nothing."""
        return self._problems.get(uid, "")

    def driver(self, node: str) -> SimulatedDriver:
        """The simulated driver of a node: where what happens to its GPUs is made to happen."""
        return self._machines[node].driver

    def hardware(self) -> Mapping[str, tuple[Placement, ...]]:
        """What is cut on every GPU, by UUID: the truth that reports are to follow."""
        return {
            gpu.uuid: gpu.placements() for machine in self._machines.values() for gpu in machine.driver.gpus.values()
        }

    def offered(self, node: str) -> dict[str, int]:
        """How many devices of each resource a node's kubelet counts."""
        endpoints = self._machines[node].kubelet.manager.endpoints
        return {resource: len(endpoint.devices) for resource, endpoint in endpoints.items()}

    def in_use(self) -> Mapping[str, tuple[Placement, ...]]:
        """What containers have on every GPU, by UUID, as their kubelets know it."""
        return {gpu: places for machine in self._machines.values() for gpu, places in machine.in_use().items()}


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """A temporary folder for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="mg-"))
    if len(str(folder)) > _LONGEST:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="mg-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def _threads(agents: int) -> AsyncIterator[None]:
    """Threads enough for that many agents: each has one that waits for its driver, and the loop's own are few.

    At the end no thread of theirs is left.
    """
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(max_workers=_THREADS * agents + 8, thread_name_prefix="agents")
    loop.set_default_executor(pool)
    try:
        yield
    finally:
        loop.set_default_executor(ThreadPoolExecutor())
        await asyncio.to_thread(pool.shutdown)
