"""What surrounds an agent in tests of the whole service: a kubelet, a cluster in memory, a driver."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from allocator.claims.placement_annotation import Promise
from node_agent.service import Service
from node_agent.settings import Settings
from simulator.cluster.device_manager import DeviceManager
from simulator.gpu.devices import SimulatedDevices
from simulator.gpu.driver import SimulatedDriver, simulate
from tests.unit.node_agent.memory_cluster import OneNodeCluster


class AgentSurroundings:
    """A kubelet, a cluster, a driver; agents come and go."""

    def __init__(self, root: Path, gpus: str = "a100-40gb:1", *, mig: bool = True) -> None:
        self.root = root
        self.kubelet = DeviceManager(root)
        self.cluster = OneNodeCluster()
        self.boot = "b"
        self.simulated = True
        self.driver: SimulatedDriver = simulate(gpus, seed="n1", mig=mig, pause=lambda _: None)
        self.gpu = self.driver.by_index()[0]

    @asynccontextmanager
    async def agent(self, **changes: object) -> AsyncIterator[tuple[Service, asyncio.Event]]:
        """An agent, running meanwhile."""
        settings = Settings(
            node="n1",
            state_dir=self.root / "state",
            cdi_dir=self.root / "cdi",
            device_plugin_dir=self.kubelet.plugins,
            pod_resources_socket=self.kubelet.pod_resources,
            plugin_registry_dir=self.root / "registry",
            **({"poll_s": 0.05, "grace_s": 0.01, "report_interval_s": 0.01, "retry_s": 0.05} | changes),  # type: ignore[arg-type]
        )
        devices = SimulatedDevices(self.driver)
        service = Service(settings, devices, self.cluster, boot=self.boot, simulated=self.simulated, plugin_poll_s=0.05)
        task = asyncio.create_task(service.run())
        stopped = asyncio.Event()
        task.add_done_callback(lambda _: stopped.set())
        try:
            yield service, stopped
        finally:
            if not task.done():
                task.cancel()
            devices.close()
            with suppress(asyncio.CancelledError):
                await task

    async def run_until_it_stops(self) -> None:
        """An agent that is expected to end by itself."""
        async with self.agent() as (_, stopped), asyncio.timeout(20):
            await stopped.wait()

    def promise(self, profile: str, start: int) -> tuple[Promise, ...]:
        """A promise to the container main on the first GPU."""
        return (Promise("main", self.gpu.uuid, profile, start),)

    def spec(self, name: str) -> dict[str, object]:
        """The CDI specification behind a qualified name."""
        bare = name.split("=", 1)[1]
        found: dict[str, object] = json.loads((self.root / "cdi" / f"migsched-slice-{bare}.json").read_text())
        return found
