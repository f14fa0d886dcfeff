"""What the agent knows of its node's pods: first promises, deletions, and how much of it is kept."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from allocator.claims.placement_annotation import Promise
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Container, PodStatus, Resources
from node_agent.cluster.node_pod import NodePod, NodePodSpec
from node_agent.cluster.pod_watch import MAX_DELETED, MAX_TEXT, PodWatch
from node_agent.cluster.pods import PodView
from tests.unit.node_agent.memory_cluster import OneNodeCluster, pod

NEAR, FAR = (Promise("main", "GPU-0", "1g.5gb", start) for start in (0, 5))


@pytest.fixture
def cluster() -> OneNodeCluster:
    """A cluster of one node."""
    return OneNodeCluster()


def watch_of(cluster: OneNodeCluster, max_text: int = MAX_TEXT) -> PodWatch:
    """A watch that has listed once."""
    watch = PodWatch(cluster, "n1", lambda: None, max_text=max_text)
    watch.synced.set()
    return watch


def views(watch: PodWatch) -> list[PodView]:
    """The pods that ask for slices."""
    return list((watch.views() or {}).values())


def told(watch: PodWatch, type_: ChangeType, item: NodePod) -> None:
    """The watch tells of a pod."""
    watch.apply(Change(type_, item, "1"))


def with_status(item: NodePod, *, phase: str, start_time: str | None = None) -> NodePod:
    """The pod with another status."""
    return msgspec.structs.replace(item, status=PodStatus(phase, start_time=start_time))


# --- a promise is the Binding's -------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [pod("a", "1g.5gb", promises=(FAR,)), pod("a", "1g.5gb"), pod("a", annotation="{")])
def test_a_promise_that_is_edited_later_is_not_believed(cluster: OneNodeCluster, later: NodePod) -> None:
    """A pod's first placement counts as long as it lives; changed, removed or spoilt it changes nothing."""
    watch = watch_of(cluster)
    told(watch, ChangeType.ADDED, pod("a", "1g.5gb", promises=(NEAR,)))
    told(watch, ChangeType.MODIFIED, later)
    (seen,) = views(watch)
    assert (seen.promises, seen.problem) == ((NEAR,), None)


async def test_a_new_list_does_not_change_a_promise_either(cluster: OneNodeCluster) -> None:
    """What a list says of a known pod's placement counts as little as what the watch says."""
    watch = watch_of(cluster)
    told(watch, ChangeType.ADDED, pod("a", "1g.5gb", promises=(NEAR,)))
    await watch.replace(Listing((pod("a", "1g.5gb", promises=(FAR,)),), "9"))
    assert [seen.promises for seen in views(watch)] == [(NEAR,)]


def test_a_promise_that_was_not_in_the_binding_is_none(cluster: OneNodeCluster) -> None:
    """A pod that was bound without a placement gets none later."""
    watch = watch_of(cluster)
    told(watch, ChangeType.ADDED, pod("a", "1g.5gb"))
    told(watch, ChangeType.MODIFIED, pod("a", "1g.5gb", promises=(NEAR,)))
    assert [seen.promises for seen in views(watch)] == [()]


@pytest.mark.parametrize(("resource", "followed"), [("nvidia.com/gpu", True), ("cpu", False)])
def test_pods_of_whole_gpus_are_followed_too(cluster: OneNodeCluster, resource: str, followed: bool) -> None:
    """A pod that asks for whole GPUs is known, so that it can be told of its GPU, and asks for no slice."""
    watch, asking = watch_of(cluster), NodePodSpec((Container("main", Resources({resource: "1"})),))
    told(watch, ChangeType.ADDED, msgspec.structs.replace(pod("a"), spec=asking))
    assert [seen.wanted for seen in views(watch)] == [{}] * followed


def test_what_becomes_of_a_pod_is_followed(cluster: OneNodeCluster) -> None:
    """The kubelet's admission and the pod's end are seen; what an ended pod asked for is forgotten."""
    watch, made = watch_of(cluster), pod("a", "1g.5gb", promises=(NEAR,))
    told(watch, ChangeType.ADDED, made)
    (waiting,) = views(watch)
    assert (waiting.started, waiting.waits) == (False, True)
    told(watch, ChangeType.MODIFIED, with_status(made, phase="Pending", start_time="2026-01-01T00:00:00Z"))
    (started,) = views(watch)
    assert started == replace(waiting, started=True)
    told(watch, ChangeType.MODIFIED, with_status(made, phase="Failed", start_time="2026-01-01T00:00:00Z"))
    (over,) = views(watch)
    assert (over.over, over.started, over.promises, over.wanted) == (True, False, (), {})


# --- a deleted pod stays deleted ------------------------------------------------------------------------------------


async def listing_on_its_way(cluster: OneNodeCluster, watch: PodWatch) -> asyncio.Task[None]:
    """A refresh whose list was made and has not arrived."""
    cluster.listed.clear()
    cluster.answering.clear()
    task = asyncio.create_task(watch.refresh())
    await cluster.listed.wait()
    return task


async def test_a_late_list_brings_no_deleted_pod_back(cluster: OneNodeCluster) -> None:
    """A pod that the watch tells to be deleted while a list with it is on its way stays deleted."""
    watch, made = watch_of(cluster), pod("a", "1g.5gb")
    await cluster.put(made)
    told(watch, ChangeType.ADDED, made)
    refresh = await listing_on_its_way(cluster, watch)
    told(watch, ChangeType.DELETED, made)
    cluster.answering.set()
    await refresh
    assert views(watch) == []


async def test_a_late_list_overtaken_by_a_new_one_says_nothing(cluster: OneNodeCluster) -> None:
    """A pod that came and went between two lists is not brought back by the older one."""
    watch = watch_of(cluster)
    await cluster.put(pod("a", "1g.5gb"))
    refresh = await listing_on_its_way(cluster, watch)
    await watch.replace(Listing((), "9"))
    cluster.answering.set()
    await refresh
    assert views(watch) == []


async def test_a_late_list_does_not_revive_an_ended_pod(cluster: OneNodeCluster) -> None:
    """A pod that the watch tells to be over is over, although a list that is older says that it lives."""
    watch, made = watch_of(cluster), pod("a", "1g.5gb")
    await cluster.put(made)
    told(watch, ChangeType.ADDED, made)
    refresh = await listing_on_its_way(cluster, watch)
    told(watch, ChangeType.MODIFIED, with_status(made, phase="Succeeded"))
    cluster.answering.set()
    await refresh
    assert [seen.over for seen in views(watch)] == [True]


async def test_a_list_shows_pods_that_the_watch_has_not(cluster: OneNodeCluster) -> None:
    """The kubelet may be ahead of our watch: that is what a refresh is for."""
    watch = watch_of(cluster)
    await cluster.put(pod("a", "1g.5gb"), seen=False)
    await watch.refresh()
    assert [seen.name for seen in views(watch)] == ["a"]


async def test_a_restored_cluster_is_believed(cluster: OneNodeCluster) -> None:
    """A whole new list counts, with pods that were deleted once: the API server may be back from a backup."""
    watch, made = watch_of(cluster), pod("a", "1g.5gb")
    told(watch, ChangeType.ADDED, made)
    told(watch, ChangeType.DELETED, made)
    await watch.replace(Listing((made,), "3"))
    await watch.refresh()
    assert [seen.name for seen in views(watch)] == ["a"]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_placements_are_believed_up_to_a_size(cluster: OneNodeCluster) -> None:
    """Beyond the limit a pod counts as one without a promise and says why; room that others leave is used again."""
    first = pod("a", "1g.5gb", promises=(NEAR,))
    size = len((first.metadata.annotations or {})["migsched.io/placement"])
    watch = watch_of(cluster, max_text=2 * size)
    made = [first, *(pod(name, "1g.5gb", promises=(NEAR,)) for name in "bc")]
    for item in made:
        told(watch, ChangeType.ADDED, item)
    assert [len(seen.promises) for seen in views(watch)] == [1, 1, 0]
    assert "characters" in (views(watch)[2].problem or "")
    told(watch, ChangeType.MODIFIED, with_status(made[0], phase="Failed"))
    told(watch, ChangeType.DELETED, made[1])
    for name in "de":
        told(watch, ChangeType.ADDED, pod(name, "1g.5gb", promises=(NEAR,)))
    assert [len(seen.promises) for seen in views(watch) if not seen.over] == [0, 1, 1]


async def test_only_the_latest_deletions_are_remembered(cluster: OneNodeCluster) -> None:
    """However many pods come and go, what is remembered of them does not grow: the oldest is forgotten."""
    watch = watch_of(cluster)
    made = [pod(f"p{number}", "1g.5gb") for number in range(MAX_DELETED + 1)]
    for item in made:
        told(watch, ChangeType.ADDED, item)
        told(watch, ChangeType.DELETED, item)
    for item in made:
        await cluster.put(item, seen=False)
    await watch.refresh()
    assert [seen.name for seen in views(watch)] == ["p0"]


# --- by resource version ----------------------------------------------------------------------------------------------


def at(item: NodePod, version: int) -> NodePod:
    """The pod at a resource version."""
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, resource_version=str(version)))


class VersionedCluster(OneNodeCluster):
    """A cluster whose lists have a resource version of the test's choice."""

    version = "0"

    async def pods(self, node: str) -> Listing[NodePod]:
        """See Cluster."""
        return Listing((await super().pods(node)).items, self.version)


async def test_a_younger_list_counts_and_an_older_one_does_not() -> None:
    """What a list shows of a known pod, and that it lacks one, counts if it is younger than what is known."""
    cluster = VersionedCluster()
    watch, ended, gone = watch_of(cluster), pod("ended", "1g.5gb"), pod("gone", "1g.5gb")
    for item in (ended, gone):
        told(watch, ChangeType.ADDED, at(item, 10))
    await cluster.put(at(with_status(ended, phase="Succeeded"), 9))
    cluster.version = "9"
    await watch.refresh()
    assert [(seen.name, seen.over) for seen in views(watch)] == [("ended", False), ("gone", False)]
    await cluster.put(at(with_status(ended, phase="Succeeded"), 11))
    cluster.version = "12"
    await watch.refresh()
    assert [(seen.name, seen.over) for seen in views(watch)] == [("ended", True)]
