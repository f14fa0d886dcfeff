"""AgentOptions: how the agent behaves. Made by `Settings.options`; kept by state."""

from dataclasses import dataclass

from node_agent.gpu import selection
from node_agent.gpu.selection import GpuSelection
from node_agent.health.policy import HealthPolicy

HEALTH = HealthPolicy()


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How the agent behaves; times in seconds."""

    grace_s: float = 30.0  # how long after Allocate an id may be missing from PodResources
    retry_s: float = 5.0  # before something that failed is tried again
    discover_s: float = 10.0  # between readings of GPUs of which the driver reports nothing: events can be lost
    manage_mig_mode: GpuSelection = selection.NONE
    exclude_gpus: GpuSelection = selection.NONE
    out_of_service_gpus: GpuSelection = selection.NONE
    observer: bool = False
    real_nodes: bool = True  # containers get device nodes from here; of simulated GPUs there are none
    health: HealthPolicy = HEALTH
