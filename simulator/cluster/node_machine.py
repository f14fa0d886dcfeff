"""NodeMachine: one simulated node with the real node agent: GPUs and their driver, the kubelet's devices, the agent.

The agent is `node_agent.service`, as `migsched agent` runs it: it reads the node's pods and writes its MigNode through
its own port to Kubernetes, and speaks gRPC with the kubelet over Unix sockets. Only what it finds on a node is
simulated. Made by `node_agents`.
"""

import asyncio
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from allocator.mig import gpu_models
from allocator.mig.profile import GpuPlacement, Placement
from node_agent import settings
from node_agent.cluster.port import Cluster
from node_agent.service import Service
from node_agent.slices import device_ids
from simulator.cluster.node_kubelet import NodeKubelet
from simulator.cluster.nodes import SimulatedNode
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import SimulatedDriver
from simulator.gpu.gpu import SimulatedGpu

_REPORT_S = 0.05  # a loopback API server takes more writes than the agent's own default asks of it
_POLL_S = 0.5  # a simulated kubelet may be asked more often what is in use
_GRACE_S = 0.3  # this kubelet tells at once what it has given


class NodeMachine:
    """One node, switched on with `run`. `place` is its folder, whose path must be short enough for sockets in it."""

    def __init__(self, node: SimulatedNode, cluster: Cluster, place: Path) -> None:
        self.driver = SimulatedDriver(
            SimulatedGpu(gpu_models.find(gpu.model), gpu.uuid, index) for index, gpu in enumerate(node.gpus)
        )
        self._cdi = place / "cdi"
        self.kubelet = NodeKubelet(place, self._cdi)
        self._devices = SimulatedDevices(self.driver)
        chosen = settings.load(
            node=node.name,
            state_dir=place / "state",
            cdi_dir=self._cdi,
            device_plugin_dir=self.kubelet.manager.plugins,
            pod_resources_socket=self.kubelet.manager.pod_resources,
            plugin_registry_dir=place / "registry",
            poll_s=_POLL_S,
            grace_s=_GRACE_S,
            report_interval_s=_REPORT_S,
        )
        # Simulated GPUs are empty at each start: so this is another running of the node than any before.
        boot = f"simulated-{uuid.uuid4()}"
        self._agent = Service(chosen, self._devices, cluster, boot=boot, simulated=True)

    async def run(self) -> None:
        """Until cancelled."""
        shutil.rmtree(self._cdi, ignore_errors=True)  # it does not outlive a node's running
        await self.kubelet.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._agent.run())
                group.create_task(self.kubelet.until_registered(map(device_ids.resource, self._places().values())))
        finally:
            self._devices.close()
            await self.kubelet.stop()

    def in_use(self) -> dict[str, tuple[Placement, ...]]:
        """What containers have on each GPU, by UUID."""
        places = self._places()
        held = [places[id_] for id_ in self.kubelet.manager.pods.taken() if id_ in places]
        return {gpu: tuple(sorted(p.placement for p in held if p.gpu == gpu)) for gpu in self.driver.gpus}

    def _places(self) -> Mapping[str, GpuPlacement]:
        """Every place that the agent has a device of, by the device's id."""
        return device_ids.offered({gpu.uuid: gpu.catalogue for gpu in self.driver.gpus.values()})
