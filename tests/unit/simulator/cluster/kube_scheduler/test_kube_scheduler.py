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
from tests.unit.simulator.cluster.cluster_world import World, pod
from tests.waiting import eventually

Answer = Callable[[dict[str, Any]], Any]
NODES = ["node-1", "node-2", "node-3"]


class Extender:
    """Plays the extender: takes every node, ranks them as they come and binds as told, unless a test answers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answer] = {}
        self.before_bind: Callable[[], Awaitable[object]] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        """One call."""
        verb, body = request.match_info["verb"], msgspec.json.decode(await request.read())
        self.calls.append((verb, body))
        if verb == "bind" and self.before_bind is not None:
            await self.before_bind()
        answer = self.answers.get(verb, getattr(self, f"_{verb}"))(body)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    def bodies(self, verb: str) -> list[dict[str, Any]]:
        """What was sent for a verb, in order."""
        return [body for called, body in self.calls if called == verb]

    def _filter(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"NodeNames": body["NodeNames"], "Nodes": body["Nodes"], "FailedNodes": {}, "Error": ""}

    def _prioritize(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        names = body["NodeNames"] or [node["metadata"]["name"] for node in body["Nodes"]["items"]]
        return [{"Host": name, "Score": 10 - rank} for rank, name in enumerate(names)]

    def _bind(self, body: dict[str, Any]) -> dict[str, str]:
        self.world.server.bind(Binding(body["PodNamespace"], body["PodName"], body["PodUID"], body["Node"], {"k": "v"}))
        return {"Error": ""}


@pytest.fixture
def world() -> World:
    return World()


@asynccontextmanager
async def started(world: World, extender: Extender, **changes: Any) -> AsyncIterator[KubeScheduler]:
    application = web.Application()
    application.router.add_post("/v1/{verb}", extender.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    await nodes.create(world.api, nodes.uniform(len(NODES), 1))
    config = SchedulerConfig(f"http://127.0.0.1:{port}/v1", initial_backoff_s=0.01, max_backoff_s=0.02, timeout_s=5)
    scheduler = KubeScheduler(world.api, replace(config, **changes))
    try:
        async with running(scheduler.run()):
            yield scheduler
    finally:
        await runner.cleanup()


def node_of(world: World, name: str) -> str:
    return str(world.server.get(api.POD, name, "default").document["spec"].get("nodeName", ""))


def told(world: World, name: str) -> tuple[str, str]:
    conditions = world.server.get(api.POD, name, "default").document["status"].get("conditions", [])
    scheduled = [
        (condition.get("reason", ""), condition.get("message", ""))
        for condition in conditions
        if condition["type"] == "PodScheduled"
    ]
    return scheduled[0] if scheduled else ("", "")


async def test_the_wire_is_kube_schedulers(world: World) -> None:
    """The verbs are called in order with Go's field names, node names alone, and the whole pod."""
    extender = Extender(world)
    async with started(world, extender):
        uid = world.pod("p", "1g.5gb")["metadata"]["uid"]
        await eventually(lambda: node_of(world, "p") == "node-1", "the pod is bound to the best node")
    assert [verb for verb, _ in extender.calls] == ["filter", "prioritize", "bind"]
    (filtered,) = extender.bodies("filter")
    assert list(filtered) == ["Pod", "Nodes", "NodeNames"]
    assert (filtered["Nodes"], filtered["NodeNames"]) == (None, NODES)
    assert filtered["Pod"]["metadata"]["uid"] == uid
    assert filtered["Pod"]["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.5gb": "1"}
    assert extender.bodies("bind") == [{"PodName": "p", "PodNamespace": "default", "PodUID": uid, "Node": "node-1"}]


async def test_whole_nodes_are_sent_to_an_extender_without_a_cache(world: World) -> None:
    """Without nodeCacheCapable nodes travel as objects, both ways."""
    extender = Extender(world)
    extender.answers["filter"] = lambda body: {
        "Nodes": {"items": [node for node in body["Nodes"]["items"] if node["metadata"]["name"] != "node-1"]},
        "NodeNames": None,
        "FailedNodes": {"node-1": "no"},
    }
    async with started(world, extender, node_cache_capable=False):
        world.pod("p", "1g.5gb")
        await eventually(lambda: node_of(world, "p") == "node-2", "the pod is bound")
    (filtered,) = extender.bodies("filter")
    assert filtered["NodeNames"] is None
    assert [node["metadata"]["name"] for node in filtered["Nodes"]["items"]] == NODES


async def test_one_feasible_node_is_not_ranked(world: World) -> None:
    """With one node left prioritize is not called."""
    extender = Extender(world)
    extender.answers["filter"] = lambda _: {"NodeNames": ["node-2"], "FailedNodes": {"node-1": "a", "node-3": "a"}}
    async with started(world, extender):
        world.pod("p", "1g.5gb")
        await eventually(lambda: node_of(world, "p") == "node-2", "the pod is bound")
    assert extender.bodies("prioritize") == []


async def test_pods_without_slices_are_none_of_the_extenders_business(world: World) -> None:
    """A pod that names no managed resource is bound without a call; another scheduler's pod is left alone."""
    extender = Extender(world)
    async with started(world, extender):
        world.pod("other", "1g.5gb", schedulerName="default-scheduler")
        world.pod("gated", "1g.5gb", schedulingGates=[{"name": "wait"}])
        world.pod("plain")
        await eventually(lambda: node_of(world, "plain") != "", "the plain pod is bound")
        assert (node_of(world, "other"), node_of(world, "gated")) == ("", "")
    assert extender.calls == []


async def test_gate_gone_pod_goes(world: World) -> None:
    """A pod whose last gate is removed is scheduled."""
    async with started(world, Extender(world)):
        world.pod("gated", "1g.5gb", schedulingGates=[{"name": "wait"}])
        world.server.patch(api.POD, "gated", {"spec": {"schedulingGates": None}}, "default")
        await eventually(lambda: node_of(world, "gated") != "", "the pod is bound")


async def test_refusal_is_told_in_kube_schedulers_words(world: World) -> None:
    """Where no node is left the pod's condition counts the extender's reasons."""
    extender = Extender(world)
    extender.answers["filter"] = lambda _: {
        "NodeNames": [],
        "FailedNodes": {"node-1": "no room", "node-2": "no room"},
        "FailedAndUnresolvableNodes": {"node-3": "no report"},
    }
    async with started(world, extender) as scheduler:
        world.pod("p", "1g.5gb")
        await eventually(lambda: scheduler.idle and told(world, "p")[0] == "Unschedulable", "the refusal is told")
    assert told(world, "p")[1] == (
        "0/3 nodes are available: 1 no report, 2 no room. preemption: 0/3 nodes are available:"
        " 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )


async def test_counts_refuse_before_the_extender_is_asked(world: World) -> None:
    """A resource that no node offers that often is refused in-tree, without a call."""
    extender = Extender(world)
    async with started(world, extender) as scheduler:
        world.pod("p", *["7g.40gb"] * 2)
        await eventually(lambda: scheduler.idle and told(world, "p")[0] == "Unschedulable", "the refusal is told")
    assert "3 Insufficient nvidia.com/mig-7g.40gb" in told(world, "p")[1]
    assert extender.calls == []


async def test_next_filter_comes_before_the_last_bind_is_done(world: World) -> None:
    """Binding does not hold up the next pod; the first is assumed on its node meanwhile, and counted there."""
    extender, hold = Extender(world), asyncio.Event()
    extender.before_bind = hold.wait
    async with started(world, extender):
        for name in ("a", "b"):
            world.pod(name, "7g.40gb")
        await eventually(lambda: len(extender.bodies("bind")) == 2, "both are being bound")
        assert extender.bodies("filter")[1]["NodeNames"] == ["node-2", "node-3"]
        hold.set()
        await eventually(lambda: (node_of(world, "a"), node_of(world, "b")) == ("node-1", "node-2"), "both are bound")


async def test_serial_binding_waits(world: World) -> None:
    """With serial binding the next pod is not tried before the last one's binding is done."""
    extender, hold = Extender(world), asyncio.Event()
    extender.before_bind = hold.wait
    async with started(world, extender, serial=True):
        for name in ("a", "b"):
            world.pod(name, "1g.5gb")
        await eventually(lambda: len(extender.bodies("bind")) == 1, "the first is being bound")
        assert len(extender.bodies("filter")) == 1
        hold.set()
        await eventually(lambda: node_of(world, "b") != "", "both are bound")


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
async def test_bad_filter_answers_are_retried_after_a_backoff(world: World, bad: Any) -> None:
    """An answer that is an error, or none that makes sense, costs the pod a back-off and says so on it."""
    extender = Extender(world)

    def first_bad(body: dict[str, Any]) -> Any:
        if len(extender.bodies("filter")) == 1:
            return bad
        assert told(world, "p")[0] == "SchedulerError"
        return {"NodeNames": body["NodeNames"]}

    extender.answers["filter"] = first_bad
    async with started(world, extender):
        world.pod("p", "1g.5gb")
        await eventually(lambda: node_of(world, "p") != "", "the pod is bound in the end")


async def test_prioritize_that_fails_is_done_without(world: World) -> None:
    """Without the extender's scores the in-tree ones decide."""
    extender = Extender(world)
    extender.answers["prioritize"] = lambda _: web.Response(status=500)
    async with started(world, extender):
        world.pod("p", "1g.5gb")
        await eventually(lambda: node_of(world, "p") != "", "the pod is bound")


async def test_refused_bind_frees_what_was_assumed(world: World) -> None:
    """A pod that the extender would not bind is forgotten on its node and tried again."""
    extender = Extender(world)
    bind = extender._bind
    extender.answers["bind"] = lambda body: {"Error": "taken"} if len(extender.bodies("bind")) == 1 else bind(body)
    async with started(world, extender):
        world.pod("p", "7g.40gb")
        await eventually(lambda: node_of(world, "p") == "node-1", "the pod is bound in the end")
    assert extender.bodies("filter")[1]["NodeNames"] == NODES


async def test_bind_that_was_done_though_it_failed_is_not_repeated(world: World) -> None:
    """A pod that is bound when the extender says it could not is left as it is."""
    extender = Extender(world)
    bind = extender._bind
    extender.answers["bind"] = lambda body: (bind(body), web.Response(status=500))[1]
    async with started(world, extender) as scheduler:
        world.pod("p", "1g.5gb")
        await eventually(lambda: node_of(world, "p") != "" and scheduler.idle, "the pod is bound")
    assert len(extender.bodies("filter")) == 1


@pytest.mark.parametrize("news", ["node-annotation", "pod-gone", "pod-bound"])
async def test_refused_pods_are_woken(world: World, news: str) -> None:
    """A pod that the extender refused is tried again when a node changes, a pod is bound, or one goes."""
    extender = Extender(world)
    full = True
    extender.answers["filter"] = lambda body: {
        "NodeNames": [] if full else body["NodeNames"],
        "FailedNodes": dict.fromkeys(body["NodeNames"], "full") if full else {},
    }
    async with started(world, extender) as scheduler:
        world.server.create(api.POD, pod("old", "1g.5gb", nodeName="node-1"))
        world.pod("p", "1g.5gb")
        await eventually(lambda: scheduler.idle and told(world, "p")[0] == "Unschedulable", "the pod is refused")
        full = False
        if news == "node-annotation":
            world.server.patch(api.NODE, "node-3", {"metadata": {"annotations": {"migsched.io/requeue": "1"}}})
        elif news == "pod-gone":
            world.delete("old", grace_seconds=0)
        else:
            world.server.create(api.POD, pod("new", nodeName="node-1"))
        await eventually(lambda: node_of(world, "p") != "", "the pod is bound")


async def test_heartbeats_wake_nobody(world: World) -> None:
    """A node's heartbeat is no reason to try a refused pod again."""
    extender = Extender(world)
    extender.answers["filter"] = lambda body: {"NodeNames": [], "FailedNodes": dict.fromkeys(body["NodeNames"], "full")}
    async with started(world, extender) as scheduler:
        world.pod("p", "1g.5gb")
        await eventually(lambda: scheduler.idle and told(world, "p")[0] == "Unschedulable", "the pod is refused")
        calls = len(extender.calls)
        beat = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
        world.server.patch_status(api.NODE, "node-1", {"status": {"conditions": beat}})
        cached = scheduler._nodes
        await eventually(lambda: cached["node-1"].document["status"]["conditions"] == beat, "the heartbeat was seen")
        assert scheduler.idle
        assert len(extender.calls) == calls
