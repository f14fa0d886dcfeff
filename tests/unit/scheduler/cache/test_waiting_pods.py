"""Who waits for room: pods that were refused, and pods that may have been before this process began."""

from typing import Any

import msgspec
import pytest

from allocator.placement import policy
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.objects import Pod
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.port import WatchedKind


class RestartedCache:
    """A cache that has just begun; how often it said that room arose."""

    def __init__(self) -> None:
        self.rings = 0
        self.state = ClusterCache(policy.DEFAULT, self._ring)

    def _ring(self) -> None:
        self.rings += 1

    async def list(self, *listed: Pod) -> None:
        """The API server has these pods."""
        await self.state.replace(WatchedKind.POD, Listing(listed, "1"))


def pending(name: str = "p", **changes: Any) -> Pod:
    """A pod of our scheduler that asks for a slice; `changes` are sections of its document."""
    document: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {
            "schedulerName": "migsched",
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}],
        },
    }
    for section, fields in changes.items():
        document[section] = {**document.get(section, {}), **fields}
    return msgspec.convert(document, Pod)


async def test_listed_pods_that_are_pending_wait_and_are_tried_at_once() -> None:
    """kube-scheduler has kept its queue over our restart: what arose meanwhile, and what arises next, is theirs."""
    cache = RestartedCache()
    await cache.list(pending())
    assert (bool(cache.state.waiting), cache.rings) == (True, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {"nodeName": "n"}},
        {"spec": {"schedulingGates": [{"name": "example.com/gate"}]}},
        {"spec": {"schedulerName": "default-scheduler"}},
        {"spec": {"containers": [{"name": "main"}]}},
        {"status": {"phase": "Failed"}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["bound", "gated", "another scheduler's", "asks for no slices", "over", "being deleted"],
)
async def test_who_waits_for_nothing_wakes_nobody(changes: dict[str, Any]) -> None:
    """Each requeue costs kube-scheduler a scan: none for pods that it would not ask us about."""
    cache = RestartedCache()
    await cache.list(pending(**changes))
    assert (bool(cache.state.waiting), cache.rings) == (False, 0)


async def test_a_pod_that_is_asked_about_waits_only_if_it_is_refused() -> None:
    """Whoever has asked since is known; so is a pod that is gone or bound."""
    for end in ("asked", "gone", "bound"):
        cache = RestartedCache()
        await cache.list(pending())
        if end == "asked":
            cache.state.lookup(pending())
        elif end == "gone":
            cache.state.apply(WatchedKind.POD, Change(ChangeType.DELETED, pending(), "2"))
        else:
            cache.state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, pending(spec={"nodeName": "n"}), "2"))
        assert not cache.state.waiting, end


async def test_new_pods_do_not_wait_before_they_are_refused() -> None:
    """kube-scheduler asks about a new pod by itself."""
    cache = RestartedCache()
    cache.state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pending(), "2"))
    assert not cache.state.waiting


async def test_a_list_forgets_nobody_who_was_refused() -> None:
    """After a relist those wait who waited before, and those whom it shows first."""
    cache = RestartedCache()
    cache.state.apply(WatchedKind.POD, Change(ChangeType.ADDED, pending(), "2"))
    cache.state.lookup(pending())
    cache.state.waiting.refused.add("uid-p")
    await cache.list(pending())
    assert (cache.state.waiting.refused, cache.rings) == ({"uid-p"}, 0)
    await cache.list(pending(), pending("q"))
    assert cache.rings == 1


async def test_a_scheduler_of_another_name_is_known_by_its_calls() -> None:
    """Whatever its profile is called: who asks us about pods has its pods requeued."""
    cache = RestartedCache()
    mine, other = pending("a", spec={"schedulerName": "gpu"}), pending("b", spec={"schedulerName": "gpu"})
    await cache.list(mine, other)
    assert not cache.state.waiting
    cache.state.lookup(mine)
    assert cache.state.waiting
