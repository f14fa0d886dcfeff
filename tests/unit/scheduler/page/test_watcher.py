"""The watcher: what followers have been told is what the cluster is, and what happened stands in the log."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.claims.ledger import ClaimState
from allocator.claims.report import NodeReport
from allocator.placement import policy
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.cache.known_pod import KnownPod
from scheduler.feed import Feed
from scheduler.page.document import OverviewMay, OverviewMode
from scheduler.page.outlook import Outlook
from scheduler.page.watcher import OverviewWatcher
from scheduler.planner.port import JobFactory, Planner, Task
from scheduler.snapshots import Snapshots
from simulator.cluster.memory_cluster.client import MemoryCluster
from simulator.cluster.memory_cluster.server import MemoryServer
from tests.builders import node, pod, request

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class NoPlanner(Planner):
    """A planner that nobody asks: these pages have no followers."""

    async def submit(self, task: Task, make_job: JobFactory, client: str = "") -> bytes:
        """Not asked."""
        raise AssertionError(task, make_job, client)

    async def close(self) -> None:
        """Nothing is open."""


class Watched:
    """A state, and what a page that follows it has."""

    def __init__(self) -> None:
        self.state = ClusterCache(policy.DEFAULT, lambda: None)
        self.feed = Feed()
        self.now = NOON
        self.watcher = self._watcher(self.feed)
        self.known: dict[str, Any] = {}

    def _watcher(self, feed: Feed) -> OverviewWatcher:
        snapshots = Snapshots(self.state, MemoryCluster(MemoryServer()))
        return OverviewWatcher(
            self.state,
            feed,
            Outlook(self.state, snapshots, NoPlanner()),
            mode=OverviewMode.QUEUE,
            may=OverviewMay(),
            now=lambda: self.now,
        )

    async def look(self) -> dict[str, Any]:
        """The document after another look, a second later."""
        self.now += timedelta(seconds=1)
        await self.watcher.look()
        document: dict[str, Any] = json.loads(b"".join(self.feed.document()))
        return document

    async def afresh(self) -> dict[str, Any]:
        """The document of a watcher that has seen nothing before."""
        feed = Feed()
        await self._watcher(feed).look()
        document: dict[str, Any] = json.loads(b"".join(feed.document()))
        return document


def report(name: str, starts: list[int]) -> NodeReport:
    """A node with a GPU and a pod's slice at each of these."""
    built = node(name).gpu()
    for start in starts:
        built = built.allocated("1g.5gb", start, pod=f"{name}-{start}")
    return built.report()


def without_time(document: dict[str, Any]) -> Any:
    """Nodes and totals; since when is known to one who was there alone."""
    nodes = json.loads(json.dumps(document["nodes"]))
    for one in nodes:
        for gpu in one["gpus"]:
            for slice_ in gpu["slices"]:
                slice_["since"] = None
    return sorted(nodes, key=lambda one: str(one["name"])), document["totals"], document["profiles"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.none() | st.sets(st.integers(0, 6))), min_size=1, max_size=8
)


@given(steps=STEPS)
async def test_step_by_step_it_is_what_it_is_at_once(steps: list[tuple[str, set[int] | None]]) -> None:
    """After any reports and disappearances the document that was kept up to date is the one that is made anew."""
    watched = Watched()
    for name, starts in steps:
        if starts is None:
            watched.state.inventory.forget_report(name)
        else:
            watched.state.inventory.observe(report(name, sorted(starts)))
        document = await watched.look()
        assert without_time(document) == without_time(await watched.afresh())


async def test_without_a_change_nothing_is_told() -> None:
    """A look that finds the same says nothing, within the time of a point of the history."""
    watched = Watched()
    watched.state.inventory.observe(report("n1", [0]))
    before = await watched.look()
    assert (await watched.look())["revision"] == before["revision"]


async def test_slices_pods_and_gpus_have_their_lines_in_the_log() -> None:
    """A pod placed, its slice cut, its end, and a GPU that falls ill, each in its order, with node and pod."""
    watched = Watched()
    watched.state.inventory.observe(report("n1", []))
    await watched.look()
    watched.state.inventory.reserve("uid-n1-0", "default", "n1-0", request("1g.5gb"), "n1")
    await watched.look()
    claim = watched.state.inventory.ledger.get("uid-n1-0")
    assert claim is not None
    start = claim.holds[0].placement.start
    watched.state.inventory.observe(node("n1").gpu().allocated("1g.5gb", start, pod="n1-0").report())
    await watched.look()
    watched.state.inventory.end("uid-n1-0", "n1")
    watched.state.inventory.observe(report("n1", []))
    await watched.look()
    watched.state.inventory.observe(node("n1").gpu(healthy=False, message="XID 79").report())
    log = (await watched.look())["log"]
    assert [line["kind"] for line in log] == ["placed", "cut", "ended", "freed", "failure"]
    assert log[0]["pod"] == "default/n1-0"
    assert "XID 79" in log[-1]["text"]


async def test_a_promise_a_cut_slice_and_one_since_before_are_told_apart() -> None:
    """A slice that was there at the first look has no time; one that came later has that of its look."""
    watched = Watched()
    watched.state.inventory.observe(report("n1", [0]))
    watched.state.inventory.adopt(pod("n1-0", "1g.5gb").promised("n1-gpu-0", "1g.5gb", 0).bound("n1"))
    await watched.look()
    watched.state.inventory.reserve("uid-late", "default", "late", request("1g.5gb"), "n1")
    (shown,) = (await watched.look())["nodes"]
    states = {one["pod"]: (one["state"], one["since"]) for one in shown["gpus"][0]["slices"]}
    assert states["n1-0"] == ("allocated", None)
    assert states["late"] == ("promised", "2026-01-31T12:00:02Z")
    late = watched.state.inventory.ledger.get("uid-late")
    assert late is not None
    assert late.state is ClaimState.RESERVED


@pytest.mark.parametrize("owners", [("Deployment/chat", "StatefulSet/db"), ("", "Job/train")])
async def test_a_slice_has_its_pods_owner(owners: tuple[str, str]) -> None:
    """A slice has its pod's owner, empty of a pod without one, null of a pod that is not known, and the newest."""
    watched = Watched()
    watched.state.inventory.observe(report("n1", [0]))
    watched.state.inventory.adopt(pod("n1-0", "1g.5gb").promised("n1-gpu-0", "1g.5gb", 0).bound("n1"))
    shown = [await watched.look()]
    for owner in owners:
        known = KnownPod("uid-n1-0", "default", "n1-0", "n1", 0, movable=True, request=request("1g.5gb"), service=owner)
        watched.state.pods[known.uid] = known
        shown.append(await watched.look())
    assert [one["nodes"][0]["gpus"][0]["slices"][0]["owner"] for one in shown] == [None, *owners]


@pytest.mark.parametrize("healthy", [True, False])
async def test_what_is_not_known_is_null(healthy: bool) -> None:
    """Without demand nothing is said to be stranded; moves that nobody follows are null, and so is room with moves."""
    watched = Watched()
    watched.state.inventory.observe(node("n1").gpu(healthy=healthy).report())
    document = await watched.look()
    assert document["totals"]["stranded"] is None
    assert document["moves"] is None
    assert all(profile["with_moves"] is None and profile["limit"] for profile in document["profiles"])
    assert document["nodes"][0]["ready"] is None
    assert bool(document["health"]) is not healthy
