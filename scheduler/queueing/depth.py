"""The queue's gauges: how many pods are in which state, of which priority and namespace, and which gangs wait.

Label sets are bounded: of namespaces and priorities those with most pods have values of their own. Called by a scrape.
"""

from collections import Counter
from collections.abc import Hashable

from prometheus_client import Gauge

from allocator.queueing.life import QueueState
from allocator.queueing.pod_queue import PodQueue
from scheduler.metrics import Metrics

MAX_NAMESPACES = 20
MAX_PRIORITIES = 10
OTHER = "_other"  # no namespace can have this name


def show(queue: PodQueue, metrics: Metrics) -> None:
    """Bring the gauges up to date."""
    by_state = Counter(pod.state for pod in queue)
    for state in QueueState:
        metrics.queued_pods.labels(state.value).set(by_state[state])
    waiting = [pod for pod in queue if pod.state is QueueState.QUEUED]
    _show(metrics.queued_by_namespace, Counter(pod.namespace for pod in waiting), MAX_NAMESPACES)
    _show(metrics.queued_by_priority, Counter(pod.priority for pod in waiting), MAX_PRIORITIES)
    gangs = {pod.gang for pod in waiting if pod.gang is not None}
    incomplete = sum(bool(queue.missing(gang)) for gang in gangs)
    metrics.queue_gangs.labels("incomplete").set(incomplete)
    metrics.queue_gangs.labels("complete").set(len(gangs) - incomplete)


def _show(gauge: Gauge, pods: Counter[Hashable], most: int) -> None:
    gauge.clear()
    ranked = sorted(pods.items(), key=lambda entry: (-entry[1], str(entry[0])))
    for value, number in ranked[:most]:
        gauge.labels(str(value)).set(number)
    if ranked[most:]:
        gauge.labels(OTHER).set(sum(number for _, number in ranked[most:]))
