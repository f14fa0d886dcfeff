"""What the services export: each metric with its type, labels and meaning, out of their own registries.

Read by `metrics_page`, and by tests of rules and panels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

import node_agent.metrics
import scheduler.metrics

SCHEDULER, AGENT = "scheduler", "node agent"
_ENDS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}


@dataclass(frozen=True, slots=True)
class ExportedMetric:
    """A metric of a service. `name` is what is asked for; a histogram's is without its endings."""

    service: str
    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> Mapping[str, frozenset[str]]:
        """The names under which its series are stored, with their labels."""
        labels = frozenset(self.labels)
        if self.type != "histogram":
            return {self.name: labels}
        return {f"{self.name}{end}": labels | ({"le"} if end == "_bucket" else set()) for end in _ENDS["histogram"]}


def metrics() -> list[ExportedMetric]:
    """All metrics, the scheduler's first, in the order in which they are defined."""
    scheduler_metrics, agent_metrics = scheduler.metrics.Metrics(), node_agent.metrics.Metrics()
    return [
        *_of(SCHEDULER, scheduler_metrics.registry, scheduler_metrics),
        *_of(AGENT, agent_metrics.registry, agent_metrics),
    ]


def series() -> Mapping[str, frozenset[str]]:
    """All names of stored series, with the labels that the services give them."""
    labels: dict[str, frozenset[str]] = {}
    for metric in metrics():
        for name, own in metric.series.items():
            labels[name] = labels.get(name, frozenset()) | own
    return labels


def _of(service: str, registry: CollectorRegistry, collectors: object) -> Iterator[ExportedMetric]:
    labels = {
        family.name: tuple(collector._labelnames)
        for collector in vars(collectors).values()
        if isinstance(collector, MetricWrapperBase)
        for family in collector.describe()
    }
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        yield ExportedMetric(service, name, family.type, labels.get(family.name, ()), family.documentation)
