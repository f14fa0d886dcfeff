"""The stand-in's cycle against an extender that the test plays: what is sent, and what is made of the answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiohttp import web

from scheduler.cache.port import Binding
from simulator.cluster import api, nodes
from simulator.cluster.kube_scheduler.scheduler import KubeScheduler, SchedulerConfig
from simulator.cluster.running import running
from tests.unit.simulator.cluster.memory_cluster import MemoryCluster, pod
from tests.waiting import eventually

Answer = Callable[[dict[str, Any]], Any]
NODES = ["node-1", "node-2", "node-3"]


class Extender:
    """Plays the extender: takes every node, ranks them as they come and binds as told, unless a test answers."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answer] = {}
        self.before_bind: Callable[[], Awaitable[object]] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        """One call."""
        verb, body = request.match_info["verb"], msgspec.json.decode(await request.read())
        self.calls.append((verb, body))
        if verb == "bind" and self.before_bind is not None:
            await self.before_bind()
        answer = self.answers.get(verb, getattr(self, verb))(body)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    def bodies(self, verb: str) -> list[dict[str, Any]]:
        """What was sent for a verb, in order."""
        return [body for called, body in self.calls if called == verb]

    def filter(self, body: dict[str, Any]) -> dict[str, Any]:
        """Every node fits."""
        return {"NodeNames": body["NodeNames"], "Nodes": body["Nodes"], "FailedNodes": {}, "Error": ""}

    def prioritize(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Nodes are ranked as they come."""
        names = body["NodeNames"] or [node["metadata"]["name"] for node in body["Nodes"]["items"]]
        return [{"Host": name, "Score": 10 - rank} for rank, name in enumerate(names)]

    def bind(self, body: dict[str, Any]) -> dict[str, str]:
        """The pod is bound as told."""
        self.cluster.server.bind(
            Binding(body["PodNamespace"], body["PodName"], body["PodUID"], body["Node"], {"k": "v"})
        )
        return {"Error": ""}


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@asynccontextmanager
async def started(cluster: MemoryCluster, extender: Extender, **changes: Any) -> AsyncIterator[KubeScheduler]:
    application = web.Application()
    application.router.add_post("/v1/{verb}", extender.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    await nodes.create(cluster.api, nodes.uniform(len(NODES), 1))
    config = SchedulerConfig(f"http://127.0.0.1:{port}/v1", initial_backoff_s=0.01, max_backoff_s=0.02, timeout_s=5)
    scheduler = KubeScheduler(cluster.api, replace(config, **changes))
    try:
        async with running(scheduler.run()):
            yield scheduler
    finally:
        await runner.cleanup()


def node_of(cluster: MemoryCluster, name: str) -> str:
    return str(cluster.server.get(api.POD, name, "default").document["spec"].get("nodeName", ""))


def told(cluster: MemoryCluster, name: str) -> tuple[str, str]:
    conditions = cluster.server.get(api.POD, name, "default").document["status"].get("conditions", [])
    scheduled = [
        (condition.get("reason", ""), condition.get("message", ""))
        for condition in conditions
        if condition["type"] == "PodScheduled"
    ]
    return scheduled[0] if scheduled else ("", "")


async def test_the_wire_is_kube_schedulers(cluster: MemoryCluster) -> None:
    """The verbs are called in order with Go's field names, node names alone, and the whole pod."""
    extender = Extender(cluster)
    async with started(cluster, extender):
        uid = cluster.pod("p", "1g.5gb")["metadata"]["uid"]
        await eventually(lambda: node_of(cluster, "p") == "node-1", "the pod is bound to the best node")
    assert [verb for verb, _ in extender.calls] == ["filter", "prioritize", "bind"]
    (filtered,) = extender.bodies("filter")
    assert list(filtered) == ["Pod", "Nodes", "NodeNames"]
    assert (filtered["Nodes"], filtered["NodeNames"]) == (None, NODES)
    assert filtered["Pod"]["metadata"]["uid"] == uid
    assert filtered["Pod"]["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.5gb": "1"}
    assert extender.bodies("bind") == [{"PodName": "p", "PodNamespace": "default", "PodUID": uid, "Node": "node-1"}]


async def test_whole_nodes_are_sent_to_an_extender_without_a_cache(cluster: MemoryCluster) -> None:
    """Without nodeCacheCapable nodes travel as objects, both ways."""
    extender = Extender(cluster)
    extender.answers["filter"] = lambda body: {
        "Nodes": {"items": [node for node in body["Nodes"]["items"] if node["metadata"]["name"] != "node-1"]},
        "NodeNames": None,
        "FailedNodes": {"node-1": "no"},
    }
    async with started(cluster, extender, node_cache_capable=False):
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: node_of(cluster, "p") == "node-2", "the pod is bound")
    (filtered,) = extender.bodies("filter")
    assert filtered["NodeNames"] is None
    assert [node["metadata"]["name"] for node in filtered["Nodes"]["items"]] == NODES


async def test_one_feasible_node_is_not_ranked(cluster: MemoryCluster) -> None:
    """With one node left prioritize is not called."""
    extender = Extender(cluster)
    extender.answers["filter"] = lambda _: {"NodeNames": ["node-2"], "FailedNodes": {"node-1": "a", "node-3": "a"}}
    async with started(cluster, extender):
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: node_of(cluster, "p") == "node-2", "the pod is bound")
    assert extender.bodies("prioritize") == []


async def test_pods_without_slices_are_none_of_the_extenders_business(cluster: MemoryCluster) -> None:
    """A pod that names no managed resource is bound without a call; another scheduler's pod is left alone."""
    extender = Extender(cluster)
    async with started(cluster, extender):
        cluster.pod("other", "1g.5gb", schedulerName="default-scheduler")
        cluster.pod("gated", "1g.5gb", schedulingGates=[{"name": "wait"}])
        cluster.pod("plain")
        await eventually(lambda: node_of(cluster, "plain") != "", "the plain pod is bound")
        assert (node_of(cluster, "other"), node_of(cluster, "gated")) == ("", "")
    assert extender.calls == []


async def test_gate_gone_pod_goes(cluster: MemoryCluster) -> None:
    """A pod whose last gate is removed is scheduled."""
    async with started(cluster, Extender(cluster)):
        cluster.pod("gated", "1g.5gb", schedulingGates=[{"name": "wait"}])
        cluster.server.patch(api.POD, "gated", {"spec": {"schedulingGates": None}}, "default")
        await eventually(lambda: node_of(cluster, "gated") != "", "the pod is bound")


async def test_refusal_is_told_in_kube_schedulers_words(cluster: MemoryCluster) -> None:
    """Where no node is left the pod's condition counts the extender's reasons."""
    extender = Extender(cluster)
    extender.answers["filter"] = lambda _: {
        "NodeNames": [],
        "FailedNodes": {"node-1": "no room", "node-2": "no room"},
        "FailedAndUnresolvableNodes": {"node-3": "no report"},
    }
    async with started(cluster, extender) as scheduler:
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: scheduler.idle and told(cluster, "p")[0] == "Unschedulable", "the refusal is told")
    assert told(cluster, "p")[1] == (
        "0/3 nodes are available: 1 no report, 2 no room. preemption: 0/3 nodes are available:"
        " 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )


async def test_counts_refuse_before_the_extender_is_asked(cluster: MemoryCluster) -> None:
    """A resource that no node offers that often is refused in-tree, without a call."""
    extender = Extender(cluster)
    async with started(cluster, extender) as scheduler:
        cluster.pod("p", *["7g.40gb"] * 2)
        await eventually(lambda: scheduler.idle and told(cluster, "p")[0] == "Unschedulable", "the refusal is told")
    assert "3 Insufficient nvidia.com/mig-7g.40gb" in told(cluster, "p")[1]
    assert extender.calls == []


async def test_next_filter_comes_before_the_last_bind_is_done(cluster: MemoryCluster) -> None:
    """Binding does not hold up the next pod; the first is assumed on its node meanwhile, and counted there."""
    extender, hold = Extender(cluster), asyncio.Event()
    extender.before_bind = hold.wait
    async with started(cluster, extender):
        for name in ("a", "b"):
            cluster.pod(name, "7g.40gb")
        await eventually(lambda: len(extender.bodies("bind")) == 2, "both are being bound")
        assert extender.bodies("filter")[1]["NodeNames"] == ["node-2", "node-3"]
        hold.set()
        await eventually(
            lambda: (node_of(cluster, "a"), node_of(cluster, "b")) == ("node-1", "node-2"), "both are bound"
        )


async def test_serial_binding_waits(cluster: MemoryCluster) -> None:
    """With serial binding the next pod is not tried before the last one is bound and has started."""
    extender, hold = Extender(cluster), asyncio.Event()
    extender.before_bind = hold.wait
    async with started(cluster, extender, serial=True):
        for name in ("a", "b"):
            cluster.pod(name, "1g.5gb")
        await eventually(lambda: len(extender.bodies("bind")) == 1, "the first is being bound")
        assert len(extender.bodies("filter")) == 1
        hold.set()
        await eventually(lambda: node_of(cluster, "a") != "", "the first is bound")
        assert len(extender.bodies("filter")) == 1
        cluster.set_phase("a", "Running")
        await eventually(lambda: node_of(cluster, "b") != "", "both are bound")


@pytest.mark.parametrize(
    "bad",
    [
        web.Response(status=503, text="still reading"),
        web.Response(text="not json"),
        {"Error": "no"},
        {"NodeNames": ["a-node-that-was-not-asked"]},
        {"NodeNames": "node-1"},
    ],
    ids=["503", "not-json", "error", "unknown-node", "wrong-type"],
)
async def test_bad_filter_answers_are_retried_after_a_backoff(cluster: MemoryCluster, bad: Any) -> None:
    """An answer that is an error, or none that makes sense, costs the pod a back-off and says so on it."""
    extender = Extender(cluster)

    def first_bad(body: dict[str, Any]) -> Any:
        if len(extender.bodies("filter")) == 1:
            return bad
        assert told(cluster, "p")[0] == "SchedulerError"
        return {"NodeNames": body["NodeNames"]}

    extender.answers["filter"] = first_bad
    async with started(cluster, extender):
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: node_of(cluster, "p") != "", "the pod is bound in the end")


async def test_prioritize_that_fails_is_done_without(cluster: MemoryCluster) -> None:
    """Without the extender's scores the in-tree ones decide."""
    extender = Extender(cluster)
    extender.answers["prioritize"] = lambda _: web.Response(status=500)
    async with started(cluster, extender):
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: node_of(cluster, "p") != "", "the pod is bound")


async def test_refused_bind_frees_what_was_assumed(cluster: MemoryCluster) -> None:
    """A pod that the extender would not bind is forgotten on its node and tried again."""
    extender = Extender(cluster)
    bind = extender.bind
    extender.answers["bind"] = lambda body: {"Error": "taken"} if len(extender.bodies("bind")) == 1 else bind(body)
    async with started(cluster, extender):
        cluster.pod("p", "7g.40gb")
        await eventually(lambda: node_of(cluster, "p") == "node-1", "the pod is bound in the end")
    assert extender.bodies("filter")[1]["NodeNames"] == NODES


async def test_bind_that_was_done_though_it_failed_is_not_repeated(cluster: MemoryCluster) -> None:
    """A pod that is bound when the extender says it could not is left as it is."""
    extender = Extender(cluster)
    bind = extender.bind
    extender.answers["bind"] = lambda body: (bind(body), web.Response(status=500))[1]
    async with started(cluster, extender) as scheduler:
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: node_of(cluster, "p") != "" and scheduler.idle, "the pod is bound")
    assert len(extender.bodies("filter")) == 1


@pytest.mark.parametrize("news", ["node-annotation", "pod-gone", "pod-bound"])
async def test_refused_pods_are_woken(cluster: MemoryCluster, news: str) -> None:
    """A pod that the extender refused is tried again when a node changes, a pod is bound, or one goes."""
    extender = Extender(cluster)
    full = True
    extender.answers["filter"] = lambda body: {
        "NodeNames": [] if full else body["NodeNames"],
        "FailedNodes": dict.fromkeys(body["NodeNames"], "full") if full else {},
    }
    async with started(cluster, extender) as scheduler:
        cluster.server.create(api.POD, pod("old", "1g.5gb", nodeName="node-1"))
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: scheduler.idle and told(cluster, "p")[0] == "Unschedulable", "the pod is refused")
        full = False
        if news == "node-annotation":
            cluster.server.patch(api.NODE, "node-3", {"metadata": {"annotations": {"migsched.io/requeue": "1"}}})
        elif news == "pod-gone":
            cluster.delete("old", grace_seconds=0)
        else:
            cluster.server.create(api.POD, pod("new", nodeName="node-1"))
        await eventually(lambda: node_of(cluster, "p") != "", "the pod is bound")


async def test_heartbeats_wake_nobody(cluster: MemoryCluster) -> None:
    """A node's heartbeat is no reason to try a refused pod again."""
    extender = Extender(cluster)
    extender.answers["filter"] = lambda body: {"NodeNames": [], "FailedNodes": dict.fromkeys(body["NodeNames"], "full")}
    async with started(cluster, extender) as scheduler:
        cluster.pod("p", "1g.5gb")
        await eventually(lambda: scheduler.idle and told(cluster, "p")[0] == "Unschedulable", "the pod is refused")
        calls = 2  # the second one because the pod's own condition changed with the first
        await eventually(lambda: scheduler.idle and len(extender.calls) == calls, "nothing else happened")
        beat = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
        cluster.server.patch_status(api.NODE, "node-1", {"status": {"conditions": beat}})
        cached = scheduler.nodes
        await eventually(lambda: cached["node-1"].document["status"]["conditions"] == beat, "the heartbeat was seen")
        assert scheduler.idle
        assert len(extender.calls) == calls
