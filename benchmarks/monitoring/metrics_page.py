"""docs/metrics.md: every metric of both services, its labels, and how many values each label can have."""

from pathlib import Path

from benchmarks.monitoring import exported
from benchmarks.monitoring.exported import ExportedMetric

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

GPUS = "GPUs of the node"
MODELS = "GPU models of the cluster"
PROFILES = "profiles of the GPUs: 18 of one model at most"
SLICES = "slices of the node: 7 of a GPU at most"

BOUNDS = {  # by label, or by metric and label where the bound is another
    "action": "5: what a step does to a slice",
    "call": "12: calls of the device port",
    "cause": "4: why a list was requested again",
    "ci": SLICES,
    "class": "4: classes of faults",
    "commit": "1 of a process",
    "container": SLICES,
    "error": "13: errors of the device port",
    "gi": SLICES,
    "gpu": GPUS,
    "gpu_uuid": GPUS,
    "kind": "3: Pod, Node, MigNode",
    "memory_slice": "12 of a GPU at most",
    "mig_uuid": SLICES,
    "model": MODELS,
    "namespace": SLICES,
    "outcome": "as the meaning lists them: 8 at most",
    "phase": "8: those of [repacking.md](repacking.md)",
    "pod": SLICES,
    "priority": "10, and `_other`",
    "profile": PROFILES,
    "python": "1 of a process",
    "reason": "the codes of [explain.md](explain.md#codes), and `new`",
    "start": "12 of a GPU at most",
    "state": "5 at most: the states of the life that is counted",
    "subject": "2: gpu, slice",
    "task": "fewer than 10: questions to the planner",
    "to": "2: leading, standby",
    "verb": "4: filter, prioritize, bind, preempt",
    "version": "1 of a process",
    "xid": "the numbers of [the catalogue](health.md#xids), and `other`",
    "migsched_agent_allocated_mib_seconds_total namespace": "64 of a node, `_other` and `_unowned`",
    "migsched_agent_memory_faults_total kind": "4: kinds of faults of memory",
    "migsched_queue_announcements_total kind": "2: event, condition",
    "migsched_queued_pods_by_namespace namespace": "20, and `_other`",
    "migsched_extender_decisions_total reason": "fewer than 30: what [explain.md](explain.md#codes) says of nodes, "
    "with `no_room` for `full` and `fragmented`, and what can be wrong with a call",
}

_HEAD = """# Metrics

Every metric of both services. This page is generated from their registries (`make monitoring`), and
a test compares it. What to look at and which alert means what: [monitoring.md](monitoring.md).

- The scheduler serves them at `/metrics` of its API, port 8080; the agent on port 9410.
- A histogram is stored as `…_bucket`, `…_count` and `…_sum`.
- `process_…` is of the service's own process, not of the API's gateway or the planner's.
- A name of a pod or namespace is anybody's text. It is a label only where the number of its values
  is bounded by the hardware, or by a number stated below. What is beyond the bound is added up
  under `_other`, which no namespace can be called.
- Labels of a slice change when the slice does: a node makes at most as many series at once as its
  GPUs hold slices, and old ones end.
"""


def page() -> str:
    """The page. Raises KeyError for a label whose bound is not stated."""
    found = exported.metrics()
    parts = [_HEAD]
    for service, heading in ((exported.SCHEDULER, "The scheduler"), (exported.AGENT, "The node agent")):
        parts.append(f"\n## {heading}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
        parts += [_row(metric) for metric in found if metric.service == service]
    parts.append("\n## Values of the labels\n\n| label | of | values |\n|---|---|---|\n")
    parts += _bounds(found)
    return "".join(parts)


def bound(metric: ExportedMetric, label: str) -> str:
    """How many values a label of a metric can have, in words."""
    return BOUNDS.get(f"{metric.name} {label}") or BOUNDS[label]


def _row(metric: ExportedMetric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{metric.name}` | {metric.type} | {labels} | {metric.meaning} |\n"


def _bounds(found: list[ExportedMetric]) -> list[str]:
    """A row for each label and bound, with the metrics that have it where a label has several bounds."""
    metrics_by_bound: dict[str, dict[str, list[str]]] = {}
    for metric in found:
        for label in metric.labels:
            names = metrics_by_bound.setdefault(label, {}).setdefault(bound(metric, label), [])
            if f"`{metric.name}`" not in names:
                names.append(f"`{metric.name}`")
    rows = []
    for label, bounds in sorted(metrics_by_bound.items()):
        for values, names in bounds.items():
            of = "all that have it" if len(bounds) == 1 else ", ".join(names)
            rows.append(f"| `{label}` | {of} | {values} |\n")
    return rows


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
