"""Grove's PodGangs as gangs of the queue: their gate first, then ours; each part with its own number.

The cluster is three nodes with one GPU each, in memory (tests/property/queued_cluster.py).
"""

from collections.abc import Mapping
from typing import Any

from allocator.queueing.queued_pod import GATE
from simulator.cluster import api
from tests.property.queued_cluster import QueuedCluster
from tests.unit.scheduler.queueing.test_gangs import bound, cluster, go, why

__all__ = ["cluster"]
GROVE_GATE = "grove.io/podgang-pending-creation"


def member(cluster: QueuedCluster, part: str, profile: str, **more: Any) -> str:
    """A pod of a PodClique."""
    return cluster.create(profile, labels={"grove.io/podgang": "graph-0", "grove.io/podclique": part}, **more)


def pod_gang(cluster: QueuedCluster, parts: Mapping[str, tuple[int, list[str]]]) -> None:
    """The PodGang: by part, how many have to start together, and its pods."""
    groups = [
        {
            "name": name,
            "minReplicas": size,
            "podReferences": [{"namespace": "default", "name": pod} for pod in pods],
        }
        for name, (size, pods) in parts.items()
    ]
    meta = {"name": "graph-0", "namespace": "default"}
    cluster.server.create(api.POD_GANG, {"metadata": meta, "spec": {"podgroups": groups}})


def test_each_part_of_a_pod_gang_needs_its_own_number(cluster: QueuedCluster) -> None:
    """Three of one part do not stand in for one of the other; with that one the smallest number starts together."""
    decode = [member(cluster, "decode", "3g.20gb") for _ in range(3)]
    pod_gang(cluster, {"decode": (2, decode), "prefill": (1, [])})
    go(cluster)
    assert not bound(cluster)
    assert "its gang graph-0 of 3 is placed as a whole, and 1 of its pods are missing" in why(cluster, decode[0])
    prefill = member(cluster, "prefill", "7g.40gb")
    go(cluster, 3)
    assert bound(cluster).keys() == {*decode, prefill}


def test_a_pod_gang_is_held_whole_where_one_part_finds_no_place(cluster: QueuedCluster) -> None:
    """The parts are placed together or not at all, and a pod beyond the number of its part does not go first."""
    for _ in range(2):
        cluster.create("7g.40gb")
    go(cluster)
    decode = [member(cluster, "decode", "3g.20gb") for _ in range(2)]
    prefill = member(cluster, "prefill", "4g.20gb")
    pod_gang(cluster, {"decode": (2, decode), "prefill": (1, [prefill])})
    go(cluster, 3)
    assert len(bound(cluster)) == 2
    assert "no room for all of it at once" in why(cluster, prefill)


def test_parts_without_slices_are_not_waited_for(cluster: QueuedCluster) -> None:
    """A frontend asks for no slice, so it is never at our gate: the others start without it."""
    decode = [member(cluster, "decode", "3g.20gb") for _ in range(2)]
    pod_gang(cluster, {"front": (1, ["front-1"]), "decode": (2, decode)})
    go(cluster)
    assert bound(cluster).keys() == set(decode)


def test_a_pod_gang_that_is_not_there_is_said_so(cluster: QueuedCluster) -> None:
    """Its pods wait for it."""
    name = member(cluster, "decode", "3g.20gb")
    go(cluster)
    assert "no PodGang of scheduler.grove.io of that name" in why(cluster, name)


def test_groves_gate_comes_first(cluster: QueuedCluster) -> None:
    """A pod with both gates is not ours to place; once Grove has taken its own away from all, they start together."""
    both = {"schedulingGates": [{"name": GROVE_GATE}, {"name": GATE}]}
    names = [member(cluster, "decode", "3g.20gb", wishes=both) for _ in range(2)]
    pod_gang(cluster, {"decode": (2, names)})
    go(cluster)
    assert not len(cluster.state.queue)
    for name in names:
        assert not bound(cluster)
        cluster.server.patch(api.POD, name, {"spec": {"schedulingGates": [{"name": GATE}]}}, "default")
        go(cluster)
    assert bound(cluster).keys() == set(names)
