"""Settings of the scheduler service: flag > environment (`MIGSCHED_…`) > file > default. Read by `migsched
scheduler`.

Unknown keys are refused. Each field says its unit and why its default is what it is; docs/settings.md is generated
from here.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from allocator.placement import policy
from config import settings as loader
from scheduler.gateway.limits import GatewayLimits
from scheduler.planner.port import PoolLimits

_BEYOND_DEADLINE_S = 10.0  # that the planner is late is an answer too
_Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What can be set. Every field can be given as `MIGSCHED_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="MIGSCHED_", extra="forbid", frozen=True)

    extender_host: str = Field("127.0.0.1", description="Address of the extender: loopback, beside kube-scheduler.")
    extender_port: _Port = Field(8765, description="Port of the extender; 0 takes a free one.")
    api_host: str = Field("0.0.0.0", description="Address of the capacity API, health and metrics.")
    api_port: _Port = Field(8080, description="Port of the capacity API; 0 takes a free one.")
    api_hosts: str = Field(
        "migsched,migsched.migsched-system,migsched.migsched-system.svc,migsched.migsched-system.svc.cluster.local",
        description="Names under which the capacity API is reached, by commas; IP addresses and localhost always are. "
        "* admits every name, and with it DNS rebinding.",
    )
    api_connections: int = Field(
        256,
        ge=8,
        le=10_000,
        description="Connections to the capacity API; a quarter of them from one address. Beyond, the longest idle one "
        "is closed.",
    )
    api_calls: int = Field(
        32,
        ge=4,
        le=1000,
        description="Calls of the capacity API at once; a quarter of them from one address. A further one gets 503.",
    )
    api_max_body_mib: int = Field(
        1, ge=1, le=64, description="Largest document sent to the capacity API in MiB; a larger one gets 413."
    )
    api_memory_mib: int = Field(
        384, ge=256, description="Address space of the process that serves the capacity API in MiB."
    )
    kubeconfig: Path | None = Field(None, description="Kubeconfig file; without it the pod's service account is used.")
    policy: str = Field(
        policy.DEFAULT.name, description="How placements are scored: " + ", ".join(policy.POLICIES) + "."
    )
    shortlist: int = Field(
        10,
        ge=1,
        le=100_000,
        description="Most nodes that filter answers with. kube-scheduler's work grows with it (docs/adr/0006).",
    )
    shortlist_slack: float = Field(
        0,
        ge=0,
        description="Largest extra loss over the best node at which a node is still shortlisted; "
        "inf admits every node that fits.",
    )
    max_body_mib: int = Field(
        32, ge=1, le=1024, description="Largest body sent to the extender in MiB; 5,000 full Node objects are about 20."
    )
    bind_timeout_s: float = Field(
        4.5,
        gt=0,
        le=60,
        description="How long bind waits for the API server; below kube-scheduler's httpTimeout.",
    )
    nomination_ttl_s: float = Field(
        0.3,
        ge=0,
        le=10,
        description="How long a node that was offered as the best to one pod is ranked lower for others.",
    )
    tie_wait_s: float = Field(
        0.05,
        ge=0,
        le=1,
        description="How long a filter call waits for the previous pod's Binding, if that pod had several equal nodes.",
    )
    requeue_interval_s: float = Field(
        0.3,
        gt=0,
        le=60,
        description="At most one requeue of refused pods in this time: each costs a scan per refused pod.",
    )
    shutdown_s: float = Field(10, gt=0, le=300, description="How long shutting down waits for bindings in flight.")
    planner_workers: int = Field(
        1, ge=1, le=64, description="Processes that plan at once. None is started before the first question."
    )
    planner_queue: int = Field(
        4, ge=0, le=1000, description="Questions to the planner that may wait; a further one gets 503."
    )
    planner_deadline_s: float = Field(
        60,
        gt=0,
        le=3600,
        description="How long a question may take, waiting included; then its process is killed (504).",
    )
    planner_memory_mib: int = Field(
        1024, ge=256, description="Address space of a planning process in MiB; what needs more is refused (413)."
    )
    planner_nice: int = Field(
        19, ge=0, le=19, description="Niceness of planning processes; 19 leaves the processor to the extender."
    )
    planner_idle_s: float = Field(300, gt=0, description="A planning process that is idle for this time ends.")
    queue: bool = Field(
        False, description="Place pods that wait at the gate migsched.io/place, and release them (docs/queue.md)."
    )
    queue_window_s: float = Field(
        0.05, ge=0, le=10, description="How long changes are gathered before the queue is looked at."
    )
    queue_return_s: float = Field(
        10,
        ge=1,
        le=3600,
        description="How long kube-scheduler may refuse a released pod before its place is given back.",
    )
    demand_interval_s: float = Field(
        30,
        gt=0,
        le=86_400,
        description="How often a policy that follows the demand (fgd) looks at what pods asked for.",
    )
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")

    def gateway_limits(self) -> GatewayLimits:
        """What the API's clients may take."""
        return GatewayLimits(
            hosts=tuple(name.strip().lower() for name in self.api_hosts.split(",") if name.strip()),
            connections=self.api_connections,
            calls=self.api_calls,
            body_bytes=self.api_max_body_mib * 2**20,
            answer_s=self.planner_deadline_s + _BEYOND_DEADLINE_S,
            memory_mib=self.api_memory_mib,
        )

    def planner_limits(self) -> PoolLimits:
        """What the planner may take."""
        return PoolLimits(
            workers=self.planner_workers,
            queue=self.planner_queue,
            deadline_s=self.planner_deadline_s,
            memory_mib=self.planner_memory_mib,
            nice=self.planner_nice,
            idle_s=self.planner_idle_s,
        )


def load(file: Path | None = None, **flags: Any) -> Settings:
    """Settings from flags (None = not given), environment and a YAML file. SettingsError names field and fix."""
    settings = loader.load(Settings, file, flags)
    policy.find(settings.policy)
    return settings
