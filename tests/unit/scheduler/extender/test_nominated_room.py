"""What pods wait for that kube-scheduler has nominated to a node: nobody of lower priority gets it."""

from collections.abc import Sequence

import msgspec
import pytest

from kubeclient.changes import Change, ChangeType
from kubeclient.objects import Pod
from scheduler.cache.port import WatchedKind
from scheduler.extender.routes import Routes
from scheduler.metrics import Metrics
from simulator.cluster import api
from tests.unit.scheduler.extender_over_nodes import ExtenderOverNodes, document

KEPT = "room for {} is kept for a nominated pod of no lower priority"


class WatchedNodes(ExtenderOverNodes):
    """An extender that a watch tells of pods, and that is asked in kube-scheduler's JSON."""

    def __init__(self, nodes: int = 1) -> None:
        super().__init__(nodes)
        self._routes = Routes(self.extender, Metrics(), ready=lambda: True, max_body=2**20)

    def nominate(self, name: str, profile: str, where: str = "n0", *, priority: int = 1000) -> Pod:
        """A pending pod that is nominated to a node; to none if `where` is empty."""
        made = document(name, profile, priority=priority)
        made["status"] = {"nominatedNodeName": where}
        return self.show(msgspec.convert(made, Pod))

    def run(self, name: str, profile: str, where: str = "n0", *, priority: int = 0, deleted: str | None = None) -> Pod:
        """A pod on a node; with a claim once it has been shown twice or `hold` has made one."""
        made = document(name, profile, priority=priority)
        made["metadata"]["deletionTimestamp"] = deleted
        made["spec"]["nodeName"] = where
        return self.show(msgspec.convert(made, Pod))

    def show(self, pod: Pod) -> Pod:
        """The watch shows a pod."""
        self.state.apply(WatchedKind.POD, Change(ChangeType.MODIFIED, pod, "2"))
        return pod

    def pending(self, name: str, profile: str, priority: int = 0) -> Pod:
        """A pod that the API server has."""
        return msgspec.convert(self.server.create(api.POD, document(name, profile, priority=priority)).document, Pod)

    async def filter(self, pod: Pod) -> tuple[Sequence[str], dict[str, str]]:
        """The nodes that a pod is offered, and why not the others."""
        body = msgspec.json.encode({"Pod": pod, "NodeNames": self.names})
        answer = msgspec.json.decode(await self._routes.filter(body))
        return answer["NodeNames"], answer["FailedNodes"] | answer["FailedAndUnresolvableNodes"]

    async def bind(self, pod: Pod, where: str = "n0") -> str:
        """What went wrong."""
        meta = pod.metadata
        args = {"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": where}
        return str(msgspec.json.decode(await self._routes.bind(msgspec.json.encode(args)))["Error"])


async def test_a_pod_of_lower_priority_does_not_get_what_an_eviction_made() -> None:
    """A whole GPU was made free for an urgent pod: a small one of another profile is refused it."""
    world = WatchedNodes()
    urgent = world.nominate("urgent", "7g.40gb")
    small = world.pending("small", "1g.5gb")
    assert await world.filter(small) == ([], {"n0": KEPT.format("1g.5gb")})
    assert await world.bind(small) == KEPT.format("1g.5gb")
    assert await world.filter(urgent) == (["n0"], {})


async def test_whoever_fits_beside_a_nominated_pod_is_offered_the_node() -> None:
    """Only what it waits for is kept, and its place is kept at bind, too."""
    world = WatchedNodes()
    urgent = world.nominate("urgent", "4g.20gb")
    beside, further = world.pending("beside", "3g.20gb"), world.pending("further", "1g.5gb")
    assert await world.filter(beside) == (["n0"], {})
    assert await world.bind(beside) == ""
    assert await world.filter(further) == ([], {"n0": KEPT.format("1g.5gb")})
    assert await world.filter(urgent) == (["n0"], {})


async def test_another_node_is_offered_instead() -> None:
    """Nodes to which nobody is nominated are offered as ever."""
    world = WatchedNodes(2)
    world.nominate("urgent", "7g.40gb", "n0")
    assert await world.filter(world.pending("small", "1g.5gb")) == (["n1"], {})


@pytest.mark.parametrize(
    ("priority", "nominated", "offered"),
    [(999, "", []), (1000, "", []), (1000, "n0", ["n0"]), (999, "n0", []), (1001, "", ["n0"])],
)
async def test_who_has_to_leave_room(priority: int, nominated: str, offered: list[str]) -> None:
    """Lower priorities do, and equal ones that are not nominated there themselves, as in kube-scheduler."""
    world = WatchedNodes()
    world.nominate("urgent", "7g.40gb")
    other = world.nominate("other", "1g.5gb", nominated, priority=priority)
    assert (await world.filter(other))[0] == offered


@pytest.mark.parametrize("deleted", [None, "2100-01-01T00:00:00Z"], ids=["still there", "being deleted"])
async def test_room_that_is_made_bit_by_bit_is_kept(deleted: str | None) -> None:
    """Part of what a nominated pod waits for is free while its victims are still there: nobody takes that part."""
    world = WatchedNodes()
    for name, profile, priority in (("important", "4g.20gb", 900), ("low-a", "1g.5gb", 0), ("low-b", "1g.5gb", 0)):
        world.hold(name, "n0", profile, priority=priority)
    for name in ("low-a", "low-b"):
        world.run(name, "1g.5gb", deleted=deleted)
    small = world.pending("small", "1g.5gb")
    assert (await world.filter(small))[0] == ["n0"]
    world.nominate("urgent", "3g.20gb")
    assert await world.filter(small) == ([], {"n0": KEPT.format("1g.5gb")})


@pytest.mark.parametrize("end", ["bound elsewhere", "nominated no more", "gone", "being deleted"])
async def test_once_nobody_waits_for_it_the_room_is_everybodys(end: str) -> None:
    """The nomination ends: refused pods are requeued, and fit."""
    world = WatchedNodes()
    world.nominate("urgent", "7g.40gb")
    small = world.pending("small", "1g.5gb")
    assert (await world.filter(small))[0] == []
    world.room_arose.clear()
    if end == "bound elsewhere":
        world.run("urgent", "7g.40gb", "n9", priority=1000)
    elif end == "nominated no more":
        world.nominate("urgent", "7g.40gb", "")
    elif end == "gone":
        gone = msgspec.convert(document("urgent", "7g.40gb"), Pod)
        world.state.apply(WatchedKind.POD, Change(ChangeType.DELETED, gone, "3"))
    else:
        made = document("urgent", "7g.40gb", priority=1000)
        made["metadata"]["deletionTimestamp"] = "2100-01-01T00:00:00Z"
        made["status"] = {"nominatedNodeName": "n0"}
        world.show(msgspec.convert(made, Pod))
    assert world.room_arose.is_set()
    assert (await world.filter(small))[0] == ["n0"]


async def test_a_nominated_pod_with_a_claim_keeps_that_and_nothing_more() -> None:
    """Its Binding is on its way: its room is counted once."""
    world = WatchedNodes()
    world.nominate("urgent", "4g.20gb")
    world.hold("urgent", "n0", "4g.20gb", priority=1000)
    assert (await world.filter(world.pending("other", "3g.20gb")))[0] == ["n0"]


async def test_nobody_is_evicted_for_room_that_is_kept_for_another() -> None:
    """A pod in between in priority has only those evicted that make room beside the nominated pod."""
    world = WatchedNodes(2)
    world.nominate("urgent", "7g.40gb", "n0")
    world.hold("low", "n1", "7g.40gb")
    middle = world.pending("middle", "3g.20gb", priority=500)
    answer = await world.extender.preempt(middle, {"n0": ([], 0), "n1": ([], 0)})
    assert {node: list(uids) for node, (uids, _) in answer.victims.items()} == {"n1": ["uid-low"]}


async def test_room_that_our_queue_makes_is_kept_like_that_of_a_nominated_pod() -> None:
    """Nobody of lower priority gets what is free beside the victim, until the queue makes the room no more."""
    world = WatchedNodes()
    victim = world.hold("victim", "n0", "4g.20gb")
    world.state.inventory.confirm(victim.uid)
    world.run("victim", "4g.20gb")
    urgent = world.nominate("urgent", "7g.40gb", "")
    small = world.pending("small", "1g.5gb")
    world.state.nominated.hold(urgent.metadata.uid, "n0", (victim.uid,))
    world.show(urgent)
    assert await world.filter(small) == ([], {"n0": KEPT.format("1g.5gb")})
    world.state.nominated.let_go(urgent.metadata.uid)
    assert await world.filter(small) == (["n0"], {})
