"""The service's Prometheus metrics: names, labels and meaning in one table. Owned by `service`, filled by its parts.

Each service has its own registry, so that several can live in one process (tests, the demo).
"""

from collections.abc import Collection, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from allocator.claims.inventory import Inventory
from allocator.claims.ledger import ClaimState
from config import build_info

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1, 5)
_WAITS = (0.25, 1, 5, 30, 120, 600, 1_800, 3_600, 4 * 3_600, 24 * 3_600)  # for room, which may take a day


class Metrics:
    """All collectors of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.build = build_info.register(self.registry)
        self.verb_seconds = Histogram(
            "migsched_extender_verb_seconds",
            "Server time of one extender call.",
            ["verb"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "migsched_extender_decisions_total",
            "Decisions by verb, outcome (fit, misfit, error, …) and reason.",
            ["verb", "outcome", "reason"],
            registry=self.registry,
        )
        self.claims = Gauge("migsched_claims", "Claims by state.", ["state"], registry=self.registry)
        self.waiting_pods = Gauge(
            "migsched_unadopted_pods",
            "Bound pods whose promised placement could not be taken over.",
            registry=self.registry,
        )
        self.refused_pods = Gauge(
            "migsched_refused_pods", "Pods that asked and fit nowhere at the last filter call.", registry=self.registry
        )
        self.nodes = Gauge("migsched_nodes", "Nodes with a usable MIG report.", registry=self.registry)
        self.free_slices = Gauge(
            "migsched_free_memory_slices",
            "Free memory slices by GPU model, on nodes that take pods.",
            ["model"],
            registry=self.registry,
        )
        self.stranded_slices = Gauge(
            "migsched_stranded_memory_slices",
            "Free memory slices that no profile in demand can use, by GPU model, on nodes that take pods.",
            ["model"],
            registry=self.registry,
        )
        self.placeable_slices = Gauge(
            "migsched_placeable_slices",
            "How many more slices of a profile could start now, each profile asked for alone, on nodes that take pods.",
            ["model", "profile"],
            registry=self.registry,
        )
        self.closed_slices = Gauge(
            "migsched_closed_memory_slices",
            "Free memory slices by GPU model, on nodes that take no pods (cordoned, not Ready, gone, …).",
            ["model"],
            registry=self.registry,
        )
        self.closed_nodes = Gauge(
            "migsched_closed_nodes", "Nodes with a usable MIG report that take no pods.", registry=self.registry
        )
        self.requeues = Counter("migsched_requeues_total", "Requeues of refused pods.", registry=self.registry)
        self.watch_restarts = Counter(
            "migsched_watch_restarts_total",
            "Lists requested again, by kind and cause.",
            ["kind", "cause"],
            registry=self.registry,
        )
        self.unreadable_objects = Gauge(
            "migsched_unreadable_objects",
            "Objects that are left out because they cannot be read, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.planner_questions = Counter(
            "migsched_planner_questions_total",
            "Questions to the planner by task and outcome (answered, document, busy, late, toolarge, died, …).",
            ["task", "outcome"],
            registry=self.registry,
        )
        self.queued_pods = Gauge(
            "migsched_queued_pods", "Pods in the queue by state.", ["state"], registry=self.registry
        )
        self.queued_by_reason = Gauge(
            "migsched_queued_pods_by_reason",
            "Pods that wait in the queue by the code of why (docs/explain.md); new: not asked yet.",
            ["reason"],
            registry=self.registry,
        )
        self.queued_by_namespace = Gauge(
            "migsched_queued_pods_by_namespace",
            "Queued pods without a place by namespace: the 20 with most of them, the rest as _other.",
            ["namespace"],
            registry=self.registry,
        )
        self.queued_by_priority = Gauge(
            "migsched_queued_pods_by_priority",
            "Queued pods without a place by priority: the 10 with most of them, the rest as _other.",
            ["priority"],
            registry=self.registry,
        )
        self.queue_gangs = Gauge(
            "migsched_queue_gangs",
            "Gangs with pods without a place: incomplete, complete.",
            ["state"],
            registry=self.registry,
        )
        self.queue_wait_seconds = Histogram(
            "migsched_queue_wait_seconds",
            "From a pod's creation to its release from the queue.",
            buckets=_WAITS,
            registry=self.registry,
        )
        self.queue_bind_seconds = Histogram(
            "migsched_queue_bind_seconds",
            "From a pod's release to its Binding by the cluster's scheduler.",
            buckets=(*_SECONDS[4:], 30, 120, 600),
            registry=self.registry,
        )
        self.queue_unbound_seconds = Gauge(
            "migsched_queue_unbound_seconds",
            "How long the pod waits for its Binding that was released first; 0 without one.",
            registry=self.registry,
        )
        self.announcements = Counter(
            "migsched_queue_announcements_total",
            "What queued pods were to be told, by kind (event, condition) and outcome (sent, dropped, failed).",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.queue_reservations = Gauge(
            "migsched_queue_reservations", "Reservations of pods that have waited long.", registry=self.registry
        )
        self.releases = Counter(
            "migsched_queue_releases_total",
            "Pods released from the queue by outcome (released, refused, returned).",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("released", "refused", "returned"):  # alerts compare with 0 what never happened
            self.releases.labels(outcome)
        self.preemptions = Counter(
            "migsched_queue_preemptions_total",
            "Rooms made for queued pods by outcome (evicted, awaited, protected, refused, dropped, in_vain, none).",
            ["outcome"],
            registry=self.registry,
        )
        self.evicted_pods = Counter(
            "migsched_queue_evicted_pods_total", "Pods evicted for queued pods.", registry=self.registry
        )
        self.queue_cycle_seconds = Histogram(
            "migsched_queue_cycle_seconds",
            "Time of one cycle of the queue.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.repacks = Gauge(
            "migsched_repacks", "Repacks by phase, where they are carried out.", ["phase"], registry=self.registry
        )
        self.moves_under_way = Gauge(
            "migsched_moves_under_way",
            "Pods that are evicted and not confirmed in their new places.",
            registry=self.registry,
        )
        self.moves = Counter(
            "migsched_moves_total",
            "Moves that came to an end (confirmed, abandoned).",
            ["outcome"],
            registry=self.registry,
        )
        self.leader = Gauge(
            "migsched_leader", "1 while this replica decides; 0 while it stands by.", registry=self.registry
        )
        self.leadership_changes = Counter(
            "migsched_leadership_changes_total",
            "How often this replica has taken the lease (leading) or had to stop (standby).",
            ["to"],
            registry=self.registry,
        )
        self.synced = Gauge("migsched_synced", "1 once all caches are synced.", registry=self.registry)

    def show_repacks(self, phases: Mapping[str, int], under_way: int) -> None:
        """Bring the gauges of Repacks up to date."""
        for phase, number in phases.items():
            self.repacks.labels(phase).set(number)
        self.moves_under_way.set(under_way)

    def show(
        self, inventory: Inventory, demanded: Iterable[str], *, refused: int, closed: Collection[str] = ()
    ) -> None:
        """Bring the gauges that describe the inventory up to date; `demanded` are the profiles in demand, `closed` the
        nodes that take no pods.
        """
        claims = dict.fromkeys(ClaimState, 0)
        for claim in inventory.ledger:
            claims[claim.state] += 1
        for state, number in claims.items():
            self.claims.labels(state.value).set(number)
        self.waiting_pods.set(sum(1 for _ in inventory.waiting()))
        self.refused_pods.set(refused)
        self.nodes.set(len(inventory.fleet))
        self.free_slices.clear()  # a model that is gone is not shown as it last was
        self.stranded_slices.clear()
        self.closed_slices.clear()
        self.placeable_slices.clear()
        fleet, wanted = inventory.fleet, frozenset(demanded)
        self.closed_nodes.set(len(closed))
        apart = fleet.free_and_stranded(wanted, closed) if closed else {}
        for model, (free, stranded) in fleet.free_and_stranded(wanted).items():
            free_apart, stranded_apart = apart.get(model, (0, 0))
            self.free_slices.labels(model).set(free - free_apart)
            self.stranded_slices.labels(model).set(stranded - stranded_apart)
            self.closed_slices.labels(model).set(free_apart)
        for (model, profile), number in fleet.placeable(closed).items():
            self.placeable_slices.labels(model, profile).set(number)
