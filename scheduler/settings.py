"""Settings of the scheduler service: flag > environment (`MIGSCHED_…`) > file > default. Read by `migsched
scheduler`.

Unknown keys are refused. Each field says its unit and why its default is what it is; docs/settings.md is generated
from here.
"""

from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from allocator import errors
from allocator.moves.budgets import TimeWindow
from allocator.moves.document import RepackMode
from allocator.placement import policy
from allocator.queueing.release import QueueRelease
from config import settings as loader
from scheduler.gateway.limits import GatewayLimits
from scheduler.leadership.terms import LeaseTerms
from scheduler.moves.options import MovesOptions
from scheduler.planner.port import PoolLimits
from scheduler.queueing.options import QueueOptions
from scheduler.server_settings import Port, ServerSettings

_BEYOND_DEADLINE_S = 10.0  # that the planner is late is an answer too


class Settings(ServerSettings):
    """What can be set. Every field can be given as `MIGSCHED_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="MIGSCHED_", extra="forbid", frozen=True)

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
    queue_release: QueueRelease = Field(
        QueueRelease.PIN,
        description="How a queued pod is let go to its place: pin (its affinity names the node), nominate (its status "
        "does, a hint), or extender (its kube-scheduler asks our extender, which answers with the node).",
    )
    queue_window_s: float = Field(
        0.05, ge=0, le=10, description="How long changes are gathered before the queue is looked at."
    )
    queue_order: str = Field(
        "priority",
        pattern="^(priority|fair)$",
        description="Who comes first within one priority: the older pod (priority), or the namespace that holds the "
        "smallest part of a GPU model (fair).",
    )
    queue_events: bool = Field(
        True, description="Tell queued pods by Events why they wait, and what became of them; at most five a second."
    )
    queue_conditions: bool = Field(
        True, description="Write why a queued pod waits into the message of its condition PodScheduled."
    )
    queue_return_s: float = Field(
        10,
        ge=1,
        le=3600,
        description="How long kube-scheduler may refuse a released pod before its place is given back.",
    )
    webhook_cert: Path | None = Field(
        None,
        description="PEM certificate of the webhook that gives pods the queue's gate; without it none is served. Read "
        "again when it changes.",
    )
    webhook_key: Path | None = Field(None, description="PEM key of webhook_cert.")
    webhook_host: str = Field("0.0.0.0", description="Address of the webhook; its clients are API servers.")
    webhook_port: Port = Field(8443, description="Port of the webhook; 0 takes a free one.")
    webhook_schedulers: str = Field(
        "default-scheduler,migsched", description="Schedulers whose pods the webhook gates, by commas."
    )
    leader_election: bool = Field(
        False,
        description="Decide only while holding a lease, so that several replicas may run, of which one decides "
        "(docs/queue.md).",
    )
    lease_namespace: str = Field(
        "migsched-system", min_length=1, max_length=63, description="Namespace of the lease of leader election."
    )
    lease_name: str = Field(
        "migsched-queue", min_length=1, max_length=253, description="Name of the lease of leader election."
    )
    lease_duration_s: int = Field(
        15, ge=1, le=300, description="How long a lease that is not renewed keeps other replicas from deciding."
    )
    lease_renew_deadline_s: float = Field(
        10,
        gt=0,
        le=300,
        description="After how long without a renewal a leader stops. Less than lease_duration_s by more than "
        "bind_timeout_s, so that what it has sent is over before another begins.",
    )
    lease_retry_s: float = Field(
        2, gt=0, le=60, description="How often the lease is renewed by its holder and looked at by others."
    )
    queue_preemption: str = Field(
        "owned",
        pattern="^(owned|any|off)$",
        description="Whom the queue evicts for a pod of higher priority: pods that a controller makes anew (owned), "
        "any, or nobody (off).",
    )
    queue_spare_nodes: int = Field(
        1,
        ge=0,
        le=8,
        description="On how many further nodes a place is held until the Binding, where it is not certain that the "
        "first one takes the pod; 0 for none.",
    )
    queue_gang_keep_s: float = Field(
        60,
        ge=0,
        le=3600,
        description="How long the place of a gang's pod that died is kept for the one that its controller makes anew.",
    )
    queue_gang_limit_s: float = Field(
        300,
        ge=1,
        le=86_400,
        description="How long the place of a gang's pod is kept whose release was refused; then the gang stands behind "
        "others for as long. Also how long a LeaderWorkerSet's leader waits for its workers.",
    )
    queue_patience_s: float = Field(
        3600,
        ge=0,
        le=604_800,
        description="How long a pod in the queue may find no place before it gets a reservation; 0: it never does. "
        "About as long as pods run; docs/queue.md says what it costs.",
    )
    queue_reservations: int = Field(1, ge=1, le=100, description="Most reservations at once.")
    moves: bool = Field(
        False, description="Carry out Repack objects (docs/repacking.md); needs queue, which places the replacements."
    )
    moves_namespaces: str = Field(
        "",
        description="Namespaces whose pods may be moved although they are not marked movable, by commas; * for all. A "
        'pod with migsched.io/movable: "false" stays all the same.',
    )
    moves_on_refusal: str = Field(
        "off",
        pattern="^(off|Approve|Auto)$",
        description="Mode of the Repack that is made for a queued pod which a few moves would serve; off makes none.",
    )
    moves_most: int = Field(2, ge=1, le=20, description="Most moves of a Repack that is made for one pod.")
    moves_after_s: float = Field(
        30, ge=0, le=86_400, description="How long a pod finds no place before a Repack is made for it."
    )
    moves_stranded_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Defragment at idle times until no larger part of the free memory slices is stranded; never if "
        "unset.",
    )
    moves_window: str = Field(
        "00:00-00:00",
        pattern="^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="The part of the day (UTC) for defragmentation, such as 22:00-06:00; equal times are all of it.",
    )
    moves_budget: int = Field(10, ge=1, le=200, description="Most moves of one day's defragmentation.")
    demand_interval_s: float = Field(
        30,
        gt=0,
        le=86_400,
        description="How often a policy that follows the demand (fgd) looks at what pods asked for.",
    )
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")

    def queue_options(self) -> QueueOptions:
        """How the queue works, if it does."""
        return QueueOptions(
            window_s=self.queue_window_s,
            return_s=self.queue_return_s,
            release=self.queue_release,
            fair=self.queue_order == "fair",
            preemption=self.queue_preemption,
            gang_keep_s=self.queue_gang_keep_s,
            gang_limit_s=self.queue_gang_limit_s,
            patience_s=self.queue_patience_s,
            reservations=self.queue_reservations,
            spare_nodes=self.queue_spare_nodes,
            events=self.queue_events,
            conditions=self.queue_conditions,
        )

    def moves_options(self) -> MovesOptions:
        """What is moved without being asked for. Raises SettingsError for moves without the queue."""
        if self.moves and not self.queue:
            raise errors.SettingsError("moves", self.moves, "needs queue: it gives replacements their places")
        start, _, end = self.moves_window.partition("-")
        return MovesOptions(
            on_refusal=None if self.moves_on_refusal == "off" else RepackMode(self.moves_on_refusal),
            most=self.moves_most,
            after_s=self.moves_after_s,
            stranded_share=self.moves_stranded_share,
            window=TimeWindow(start, end),
            budget=self.moves_budget,
            namespaces=frozenset(name.strip() for name in self.moves_namespaces.split(",") if name.strip()),
        )

    def lease_terms(self) -> LeaseTerms:
        """The lease of leader election. Raises SettingsError for times that do not go together."""
        terms = LeaseTerms(
            self.lease_namespace,
            self.lease_name,
            self.lease_duration_s,
            self.lease_renew_deadline_s,
            self.lease_retry_s,
        )
        if terms.renew_deadline_s >= terms.duration_s:
            raise errors.SettingsError(
                "lease_renew_deadline_s", terms.renew_deadline_s, "must be less than lease_duration_s"
            )
        if terms.retry_s >= terms.renew_deadline_s:
            raise errors.SettingsError("lease_retry_s", terms.retry_s, "must be less than lease_renew_deadline_s")
        return terms

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
    settings.lease_terms()
    settings.moves_options()
    return settings
