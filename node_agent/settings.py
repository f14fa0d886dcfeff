"""Settings of the node agent: flag > environment (`MIGSCHED_AGENT_…`) > file > default. Read by `migsched agent`.

Unknown keys are refused. Each field says its unit and why its default is what it is;
docs/agent-settings.md is generated from here.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from config import settings as loader
from node_agent.containers.inject import Inject
from node_agent.gpu import selection
from node_agent.health import policy
from node_agent.health.policy import HealthPolicy
from node_agent.options import AgentOptions

PREFIX = "MIGSCHED_AGENT_"
_Seconds = Annotated[float, Field(gt=0, le=3600)]


def _gpus(text: str) -> str:
    selection.parse(text)
    return text


def _boards(text: str) -> str:
    selection.parse(text, models=True)
    return text


def _xids(text: str) -> str:
    policy.xid_numbers(text)
    return text


class Settings(BaseSettings):
    """What can be set. Every field can be given as `MIGSCHED_AGENT_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    node: str = Field("", description="Name of this node in Kubernetes; from the downward API's spec.nodeName.")
    kubeconfig: Path | None = Field(None, description="Kubeconfig file; without it the pod's service account is used.")
    state_dir: Path = Field(Path("/var/lib/migsched"), description="Where the journal lies; must survive a reboot.")
    cdi_dir: Path = Field(Path("/var/run/cdi"), description="Where the container runtime looks for CDI specifications.")
    inject: Inject = Field(
        Inject.CDI, description="How containers get GPUs: cdi, runtime, mounts or env; docs/containers.md says which."
    )
    toolkit_dir: Path | None = Field(
        None, description="Folder of the host, here at the same path, with nvidia-ctk and nvidia-cdi-hook; else found."
    )
    device_plugin_dir: Path = Field(
        Path("/var/lib/kubelet/device-plugins"), description="The kubelet's directory of device plugin sockets."
    )
    pod_resources_socket: Path = Field(
        Path("/var/lib/kubelet/pod-resources/kubelet.sock"), description="The kubelet's PodResources socket."
    )
    plugin_registry_dir: Path = Field(
        Path("/var/lib/kubelet/plugins_registry"), description="Where a DRA driver would register; looked at only."
    )
    observer: bool = Field(False, description="Report only: cut nothing and serve no devices.")
    driver_root: Path | None = Field(
        None, description="Root of the driver's files where they are not on the library path: /run/nvidia/driver."
    )
    host_driver_root: Path | None = Field(
        None, description="Where the host has driver_root, if at another path than the agent: / for /host."
    )
    host_etc: Path = Field(
        Path("/etc"),
        description="The host's /etc as the agent sees it: the container runtime's configuration is there.",
    )
    manage_mig_mode: Annotated[str, AfterValidator(_gpus)] = Field(
        "", description="Switch MIG mode on where nothing uses the GPU: all, or GPU indices or UUIDs, by commas."
    )
    exclude_gpus: Annotated[str, AfterValidator(_boards)] = Field(
        "", description="GPUs to leave alone and never offer: indices, UUIDs or models, by commas; or all."
    )
    out_of_service_gpus: Annotated[str, AfterValidator(_boards)] = Field(
        "", description="GPUs that take no new work while what runs on them goes on: indices, UUIDs or models; or all."
    )
    manage_operator_labels: bool = Field(
        False, description="Keep the GPU Operator's device plugin and MIG manager off this node by their labels."
    )
    ignored_xids: Annotated[str, AfterValidator(_xids)] = Field(
        "", description="XIDs that make nothing ill, by commas: 31,94. They are still logged and counted."
    )
    application_xid: str = Field(
        "destroy_slice",
        pattern="^(destroy_slice|mark|ignore)$",
        description="What an error does that restarting the application ends: its slice is destroyed after its pod, "
        "or only shown.",
    )
    gpu_reset_xid: str = Field(
        "close_gpu",
        pattern="^(close_gpu|mark|ignore)$",
        description="What an error does that a reset of the GPU ends: the GPU gets no new work, or it is only shown.",
    )
    unknown_xid: str = Field(
        "as_attributed",
        pattern="^(as_attributed|application|gpu_reset|ignored)$",
        description="As what an XID counts that NVIDIA's catalogue does not settle: application if the driver names "
        "the slice, else gpu_reset.",
    )
    allocate_timeout_s: _Seconds = Field(
        20.0, description="How long Allocate may take: the kubelet has no limit and admits no other pod meanwhile."
    )
    poll_s: _Seconds = Field(2.0, description="How often PodResources is asked and a step made when nothing happens.")
    grace_s: _Seconds = Field(
        30.0, description="How long after Allocate a device may be missing from PodResources before it counts as free."
    )
    retry_s: _Seconds = Field(5.0, description="How long before something that failed on a GPU is tried again.")
    report_interval_s: _Seconds = Field(0.5, description="At most one report in this time; changes are coalesced.")
    metrics_host: str = Field("0.0.0.0", description="Address of the metrics.")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(9410, description="Port of the metrics; 0: a free one.")
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")

    def options(self, *, simulated: bool) -> AgentOptions:
        """What the agent's state goes by. Simulated GPUs have no device nodes, whatever `inject` says."""
        return AgentOptions(
            grace_s=self.grace_s,
            retry_s=self.retry_s,
            manage_mig_mode=selection.parse(self.manage_mig_mode),
            exclude_gpus=selection.parse(self.exclude_gpus, models=True),
            out_of_service_gpus=selection.parse(self.out_of_service_gpus, models=True),
            observer=self.observer,
            real_nodes=not simulated and self.inject.brings_nodes,
            health=HealthPolicy(
                policy.xid_numbers(self.ignored_xids),
                policy.Effect(self.application_xid),
                policy.Effect(self.gpu_reset_xid),
                policy.UnknownFaults(self.unknown_xid),
            ),
        )


def load(file: Path | None = None, **flags: Any) -> Settings:
    """Settings from flags (None = not given), environment and a YAML file. SettingsError names field and fix."""
    return loader.load(Settings, file, flags)
