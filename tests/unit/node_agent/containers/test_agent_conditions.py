"""The whole agent over real Unix sockets says what container runtime and driver make possible, and keeps to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from tests.unit.node_agent.agent_surroundings import AgentSurroundings
from tests.unit.node_agent.memory_cluster import pod
from tests.unit.node_agent.test_agent_service import ONE

OFF = "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nenable_cdi = false\n"


@pytest.fixture
async def bench(short_path: Path) -> AsyncIterator[AgentSurroundings]:
    """One A100 that counts as real, a running kubelet, and a containerd with CDI off."""
    made = AgentSurroundings(short_path)
    made.simulated = False
    made.cluster.runtime = "containerd://1.7.27"
    (short_path / "etc" / "containerd").mkdir(parents=True)
    (short_path / "etc" / "containerd" / "config.toml").write_text(OFF)
    await made.kubelet.start()
    yield made
    await made.kubelet.stop()


async def test_where_names_would_be_dropped_allocate_is_refused(bench: AgentSurroundings) -> None:
    """containerd would start the container without its GPU and without an error; the refusal has the fix."""
    async with bench.agent(inject="runtime", host_etc=bench.root / "etc"):
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 0)))
        with pytest.raises(grpc.aio.AioRpcError, match="enable_cdi = true"):
            await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: bench.cluster.ready() == ("False", "RuntimeUnfit"))
    assert bench.cluster.condition("ContainerRuntime") == ("False", "Unfit")


async def test_where_no_names_are_needed_nothing_is_refused(bench: AgentSurroundings) -> None:
    """Variables reach the container whatever CDI is; whether NVIDIA's runtime is the pod's, the pod knows."""
    async with bench.agent(inject="env", host_etc=bench.root / "etc"):
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 0)))
        given = await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: bench.cluster.ready() == ("True", "Ready"))
    assert given.envs["MIGSCHED_VISIBLE_DEVICES"] == given.envs["NVIDIA_VISIBLE_DEVICES"]
    assert bench.cluster.condition("ContainerRuntime") == ("Unknown", "Doubtful")


async def test_without_a_toolkit_the_agent_says_what_to_do(bench: AgentSurroundings) -> None:
    """It is not Ready, and Allocate is refused after its deadline: the driver may have been on its way."""
    bench.cluster.runtime = "containerd://2.4.2"
    async with bench.agent(
        host_etc=bench.root / "etc", toolkit_dir=bench.root, driver_root=bench.root, allocate_timeout_s=0.3
    ):
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 0)))
        with pytest.raises(grpc.aio.AioRpcError, match="toolkit_dir"):
            await bench.kubelet.allocate("a", ONE)
        await bench.cluster.until(lambda: bench.cluster.ready() == ("False", "DriverFilesUnknown"))
    assert bench.cluster.condition("DriverFiles") == ("False", "Unknown")
    assert bench.cluster.condition("ContainerRuntime") == ("Unknown", "Doubtful")  # of where specifications are


async def test_simulated_gpus_need_nothing_of_the_runtime(bench: AgentSurroundings) -> None:
    """What a laptop's containerd can do is no concern of a trial."""
    bench.simulated = True
    async with bench.agent(host_etc=bench.root / "etc"):
        await bench.kubelet.until(ONE)
        await bench.cluster.until(lambda: bench.cluster.ready() == ("True", "Ready"))
    assert [one["type"] for one in bench.cluster.status["conditions"]] == ["Ready"]


async def test_where_nvidias_runtime_brings_nodes_we_do_not(bench: AgentSurroundings) -> None:
    """With inject=runtime the specification is the two variables alone."""
    bench.cluster.runtime = "containerd://2.4.2"
    async with bench.agent(inject="runtime"):
        await bench.kubelet.until(ONE)
        await bench.cluster.put(pod("a", "1g.5gb", promises=bench.promise("1g.5gb", 0)))
        given = await bench.kubelet.allocate("a", ONE)
    (made,) = bench.gpu.instances()
    (name,) = [device.name for device in given.cdi_devices]
    env = [f"{variable}={made.mig_uuid}" for variable in ("MIGSCHED_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")]
    assert bench.spec(name)["devices"] == [{"name": name.partition("=")[2], "containerEdits": {"env": env}}]
