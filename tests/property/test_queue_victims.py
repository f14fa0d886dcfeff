"""Whom the queue evicts, against the brute force of kube-scheduler's rule that the preempt verb is tried with.

What the queue adds is asked beside: it evicts all victims of that rule or nobody, and nobody if a budget that covers
one of them allows fewer than there are.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster import api
from tests.property.queued_cluster import NODES, QueuedCluster
from tests.property.test_preemption import PROFILES, URGENT, Running, kubernetes

ONLY = NODES[0]


@dataclass(frozen=True)
class Drawn:
    """A pod that may run on the node."""

    profile: str
    priority: int
    label: str
    owned: bool


pods = st.builds(
    Drawn,
    profile=st.sampled_from(PROFILES),
    priority=st.integers(0, URGENT),
    label=st.sampled_from("xyz"),
    owned=st.sampled_from((True, True, True, False)),
)


def run(cluster: QueuedCluster, drawn: Sequence[Drawn]) -> list[Running]:
    """Have those bound that find a place; those that run, as the brute force wants them."""
    by_name = {}
    for pod in drawn:
        name = cluster.create(pod.profile, owned=pod.owned, priority=pod.priority, app=pod.label)
        by_name[name] = pod
    cluster.deliver()
    cluster.step()
    cluster.deliver()
    cluster.kube_scheduler()
    running = []
    for document in cluster.pods():
        meta, pod = document["metadata"], by_name[document["metadata"]["name"]]
        if document["spec"].get("nodeName"):
            owner = "ReplicaSet" if pod.owned else ""
            running.append(Running(meta["uid"], [pod.profile], pod.priority, None, owner, pod.label))
        else:
            cluster.delete(meta["name"])
    return running


@given(
    st.lists(pods, max_size=6),
    st.sampled_from(PROFILES),
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), max_size=2),
)
def test_the_queue_evicts_the_victims_of_kubernetes_or_nobody(
    drawn: list[Drawn], wanted: str, allowed: dict[str, int]
) -> None:
    """On one node the pods of the brute force go, where budgets and controllers let all of them go; else nobody."""
    cluster = QueuedCluster(preemption="off")
    try:
        for node in NODES[1:]:
            cluster.server.delete(api.NODE, node)
        cluster.deliver()
        running = run(cluster, drawn)
        for label, number in allowed.items():
            cluster.budget(label, number)
        cluster.restart(preemption="owned")
        inventory = cluster.state.inventory
        uuids = list(inventory.gpus_without(ONLY, frozenset()))
        claims = [replace(claim, name=claim.uid) for claim in inventory.ledger]
        expected = kubernetes(claims, [pod for pod in running if pod.owner], uuids, [wanted], allowed)
        victims = {uid.removeprefix("uid-") for uid in (expected[0] if expected else ())}
        of_label = Counter(pod.label for pod in running if pod.name in victims)
        is_allowed = all(number <= allowed.get(label, number) for label, number in of_label.items())
        cluster.create(wanted, priority=URGENT)
        cluster.deliver()
        cluster.step()
        assert {pod["metadata"]["uid"] for pod, _ in cluster.evicted} == (victims if is_allowed else set())
    finally:
        cluster.close()
