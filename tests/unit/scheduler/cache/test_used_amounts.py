"""What pods use of their nodes: every bound pod of the cluster counts, as long as it is there."""

import gc
import tracemalloc
from typing import Any

import msgspec
import pytest

from allocator.eligibility.amounts import Amounts
from allocator.placement import policy
from kubeclient.changes import Change, ChangeType, Listing, UnreadableObject
from kubeclient.objects import Meta, Pod
from scheduler.cache import pod_decoding
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind, WatchedNode
from scheduler.cache.used_amounts import UsedAmounts

MAX_BYTES = 500  # that are kept of a pod that asks for no slices


def pod(name: str, node: str = "n", cpu: str = "500m", phase: str = "Running", **parts: Any) -> Pod:
    """A pod without slices, as the watch brings it; parts are of its metadata."""
    asked = {"requests": {"cpu": cpu, "memory": "1Mi"}}
    volumes = [{"name": f"kube-api-access-{name}", "projected": {}}]
    return pod_decoding.decode(
        msgspec.json.encode(
            {
                "metadata": {"name": name, "namespace": "default", "uid": f"00000000-0000-0000-{name}", **parts},
                "spec": {"nodeName": node, "containers": [{"name": "c", "resources": asked}], "volumes": volumes},
                "status": {"phase": phase},
            }
        )
    )


def shown(state: ClusterCache, item: Pod, type_: ChangeType = ChangeType.ADDED) -> Amounts | None:
    """What node n's pods use after a change."""
    state.apply(WatchedKind.POD, Change(type_, item, "1"))
    return state.used.of("n")


async def test_bound_pods_count_until_they_are_over_or_gone() -> None:
    """A pod without slices counts on its node; not while it has none, nor once it is over or deleted."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    assert state.used.of("n") is None  # nothing is known before the first list
    await state.replace(WatchedKind.POD, Listing((pod("a"), pod("b", cpu="1")), "1"))
    assert state.used.of("n") == Amounts(1500, 2 << 20, 0, 2)
    assert state.used.of("m") == Amounts()
    assert shown(state, pod("c", node="")) == Amounts(1500, 2 << 20, 0, 2)
    assert shown(state, pod("a", deletionTimestamp="2026-01-01T00:00:00Z")) == Amounts(1500, 2 << 20, 0, 2)
    assert shown(state, pod("a", phase="Succeeded")) == Amounts(1000, 1 << 20, 0, 1)
    assert shown(state, pod("b", cpu="2")) == Amounts(2000, 1 << 20, 0, 1)  # resized in place
    assert shown(state, pod("b"), ChangeType.DELETED) == Amounts()


async def test_a_list_forgets_who_is_not_on_it() -> None:
    """A pod that a new list does not show is gone; one that it shows and cannot be read stays as it was."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    await state.replace(WatchedKind.POD, Listing((pod("a"), pod("b"), pod("d")), "1"))
    left_out = UnreadableObject("default", "b", "00000000-0000-0000-b", "is nested too deeply")
    await state.replace(WatchedKind.POD, Listing((pod("d"),), "2", (left_out,)))
    assert state.used.of("n") == Amounts(1000, 2 << 20, 0, 2)


def test_a_large_pod_counts_too() -> None:
    """Of a pod whose text is long, what its containers ask for is still read."""
    used = UsedAmounts()
    used.complete = True
    used.see(pod("a", annotations={"note": "x" * 40_000}))
    assert used.of("n") == Amounts(500, 1 << 20, 0, 1)


@pytest.mark.parametrize("cpu", ["many", "-1"])
def test_what_cannot_be_read_makes_a_node_s_use_unknown(cpu: str) -> None:
    """A pod whose quantities mean nothing leaves its node's use unknown until it is gone; other nodes are known."""
    used = UsedAmounts()
    used.complete = True
    used.see(pod("a", cpu=cpu))
    assert used.of("n") is None
    assert used.of("m") == Amounts()
    used.forget("00000000-0000-0000-a")
    assert used.of("n") == Amounts()


def test_a_node_with_all_its_pods_is_closed() -> None:
    """A node that has as many pods as it may takes no pod more, and counts as closed."""
    state = ClusterCache(policy.DEFAULT, lambda: None)
    state.used.complete = True
    status = msgspec.Raw(msgspec.json.encode({"allocatable": {"cpu": "9", "pods": "1"}}))
    state.apply(WatchedKind.NODE, Change(ChangeType.ADDED, WatchedNode(Meta("n"), status=status), "1"))
    state.inventory.fleet.put("n", ())
    assert state.closed_nodes() == set()
    shown(state, pod("a"))
    assert state.closed_nodes() == {"n"}


def test_little_is_kept_of_each_pod() -> None:
    """A pod that asks for no slices costs at most half a KiB, whatever it says."""
    used, number = UsedAmounts(), 2_000
    used.see(pod("first"))
    gc.freeze()  # what there is already is not traced, and need not be walked through
    tracemalloc.start()
    for index in range(number):
        used.see(pod(f"{index:012}", node=f"node-{index % 20}", annotations={"note": "x" * 2_000}))
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept / number <= MAX_BYTES
