"""The agent beside other managers of the GPUs: it does not begin, and never takes slices from containers."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import typer

from cli import agent
from kubeclient.objects import Meta, PodStatus
from node_agent.cluster.node_pod import HostPath, NodePod, NodePodSpec, Volume
from node_agent.preconditions import PreconditionError
from tests.unit.node_agent.agent_surroundings import AgentSurroundings
from tests.unit.node_agent.memory_cluster import pod

ONE = "nvidia.com/mig-1g.5gb"
THREE = "nvidia.com/mig-3g.20gb"
WHOLE = "nvidia.com/mig-7g.40gb"
STOCK_PLUGIN = NodePod(
    Meta("nvidia-device-plugin-daemonset-x", "gpu-operator", "u", labels={"app": "nvidia-device-plugin-daemonset"}),
    NodePodSpec(volumes=(Volume(HostPath("/var/lib/kubelet/device-plugins")),)),
    PodStatus("Running"),
)


def agent_flags() -> set[str]:
    """Every flag that `migsched agent` takes."""
    command = typer.Typer()
    command.command()(agent.agent)
    return {flag for parameter in typer.main.get_command(command).params for flag in parameter.opts}


@pytest.fixture
async def bench(short_path: Path) -> AsyncIterator[AgentSurroundings]:
    """One A100 and a running kubelet."""
    made = AgentSurroundings(short_path)
    await made.kubelet.start()
    yield made
    await made.kubelet.stop()


async def test_the_stock_plugin_keeps_the_agent_from_starting(bench: AgentSurroundings) -> None:
    """Beside NVIDIA's device plugin the agent stops, naming labels and a real flag that help, unless it observes."""
    await bench.cluster.put(STOCK_PLUGIN)
    with pytest.raises(ExceptionGroup) as caught:
        await bench.run_until_it_stops()
    (found,) = caught.value.exceptions
    assert isinstance(found, PreconditionError)
    assert "nvidia.com/gpu.deploy.device-plugin=false" in str(found)
    named = set(re.findall(r"--[a-z-]+", str(found)))
    assert named
    assert named <= agent_flags()
    async with bench.agent(observer=True):
        await bench.cluster.until(lambda: bool(bench.cluster.status))
    assert not bench.kubelet.registrations
    assert bench.cluster.status["agent"]["mode"] == "observer"


async def test_a_node_of_gpu_cluster_keeps_the_agent_from_starting(bench: AgentSurroundings) -> None:
    """Where the GPU Operator gives the node to its DRA driver the agent stops, before that driver is even there."""
    bench.cluster.labels["nvidia.com/gpu.deploy.dra-driver"] = "true"
    with pytest.raises(ExceptionGroup) as caught:
        await bench.run_until_it_stops()
    assert "nvidia.com/gpu.deploy.dra-driver=false" in str(caught.value.exceptions[0])


async def test_a_rival_never_keeps_containers_from_their_slices(bench: AgentSurroundings) -> None:
    """An agent that is started beside another manager restores what containers have, and says that it is not alone."""
    await bench.cluster.put(pod("a", "1g.5gb"))
    async with bench.agent():
        await bench.kubelet.until(ONE)
        await bench.kubelet.allocate("a", ONE)
    bench.driver.restart()  # the node reboots
    bench.boot = "boot-2"
    for gpu in bench.driver.gpus.values():
        gpu.mode.current = gpu.mode.pending = True
    await bench.cluster.put(STOCK_PLUGIN)
    async with bench.agent():
        await bench.cluster.until(lambda: bench.cluster.ready()[1] == "ConflictingManager")
        assert [state for _, state, _ in bench.cluster.slices()] == ["allocated"]


async def test_nvidias_labels_alone_are_no_rival(bench: AgentSurroundings) -> None:
    """A pod that wears NVIDIA's label, as any user's may, neither keeps the agent from starting nor is reported."""
    await bench.cluster.put(msgspec.structs.replace(STOCK_PLUGIN, spec=NodePodSpec()))
    async with bench.agent():
        await bench.kubelet.until(ONE)
        await bench.cluster.until(lambda: bench.cluster.ready() == ("True", "Ready"))
