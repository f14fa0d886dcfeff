"""The story's servers as pods of a real node: kubelet, containerd and runc; only the GPUs are simulated."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from simulator.workloads import dynamo_objects
from testbed.consumers.ingress import Upstream
from testbed.consumers.packages import Packages
from testbed.control_plane.control_plane import ControlPlane
from testbed.node.real_node import RealNode
from testbed.progress import Progress
from tests.e2e.real_node.agent_stack import AgentStack
from tests.e2e.real_node.consumers import Consumers

FRONTEND, WORKERS, TRITON = "qwen-frontend", "qwen-vllmworker", "triton-1g"
_WORKER_CPU = "100m"  # the example asks for what vLLM wants; a mocker on a laptop wants less


class Pods:
    """Dynamo and Triton as pods."""

    kind = "pods of a real node (kubelet, containerd); the GPUs are simulated"

    def __init__(self, consumers: Consumers) -> None:
        self._consumers = consumers
        self.api_url = consumers.stack.extender.api_url

    def apply(self, workers: int, servers: int) -> None:
        """Have so many Dynamo workers and Triton servers."""
        self._consumers.apply_graph(workers, cpu=_WORKER_CPU)
        self._consumers.apply_triton(servers)

    def frontends(self) -> list[Upstream]:
        """Of Dynamo."""
        return self._endpoints(FRONTEND, dynamo_objects.HTTP_PORT)

    def servers(self) -> list[Upstream]:
        """Of Triton."""
        return self._endpoints(TRITON, 8000)

    def workers(self) -> int:
        """How many workers are ready."""
        return len(self._consumers.endpoints(WORKERS))

    def slices(self) -> dict[str, str]:
        """The MIG UUID of each pod."""
        return {pod: uuid for pod, (uuid, _gpu) in self._consumers.slices().items()}

    def explain(self, tell: Callable[[str], None]) -> None:
        """Tell the pods' states, the last events, and how the agent's log ends."""
        stack = self._consumers.stack
        tell(stack.cluster.kubectl("get", "pods", "--all-namespaces", "--output=wide").stdout)
        tell(stack.cluster.kubectl("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp").stdout[-6000:])
        tell(stack.agent.log.read_text(encoding="utf-8")[-4000:])

    def _endpoints(self, service: str, port: int) -> list[Upstream]:
        connect = self._consumers.stack.node.connect
        return [
            Upstream(f"{address}:{port}", partial(connect, address, port))
            for address in self._consumers.endpoints(service)
        ]


@contextmanager
def started(directory: Path, packages: Packages, tell: Progress) -> Iterator[Pods]:
    """A control plane, a real node with a simulated board of GPUs, agent and queue."""
    with ControlPlane(directory / "c", progress=tell) as cluster:
        cluster.start_controller_manager()
        cluster.start_scheduler()
        with (
            RealNode(cluster, "n1", directory / "n", progress=tell) as node,
            closing(AgentStack(cluster, node, directory, queue=True)) as stack,
        ):
            yield Pods(Consumers(stack, packages, directory))
