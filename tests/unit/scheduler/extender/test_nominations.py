"""Pods that come one close after the other: what filter knows of those whose Binding is still on its way."""

import asyncio
import random
from collections.abc import Sequence

import msgspec
import pytest

from allocator.claims.ledger import Claim
from allocator.request import Request
from kubeclient.objects import Pod
from scheduler.extender.nominations import Nominations
from scheduler.extender.routes import Routes
from scheduler.metrics import Metrics
from simulator.cluster import api
from tests.builders import request
from tests.unit.scheduler.extender_over_nodes import ExtenderOverNodes, document

TURNS = 20  # more turns of the event loop than any call needs that waits for nothing


class ExtenderOnServer(ExtenderOverNodes):
    """The verbs asked in kube-scheduler's JSON, about pods that the API server has."""

    def __init__(self, nodes: int, *, tie_wait_s: float = 60.0) -> None:
        super().__init__(nodes, tie_wait_s=tie_wait_s)
        self._routes = Routes(self.extender, Metrics(), ready=lambda: True, max_body=2**20)

    def pod(self, name: str, profile: str) -> Pod:
        """A pending pod."""
        return msgspec.convert(self.server.create(api.POD, document(name, profile)).document, Pod)

    async def filter(self, pod: Pod) -> Sequence[str]:
        """The nodes that filter offers."""
        answer = msgspec.json.decode(await self._routes.filter(self._question(pod)))
        return list(answer["NodeNames"])

    async def prioritize(self, pod: Pod) -> None:
        """After this kube-scheduler chooses among equals."""
        await self._routes.prioritize(self._question(pod))

    async def bind(self, pod: Pod, where: str) -> str:
        """What went wrong."""
        meta = pod.metadata
        args = {"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": where}
        return str(msgspec.json.decode(await self._routes.bind(msgspec.json.encode(args)))["Error"])

    def _question(self, pod: Pod) -> bytes:
        shown = self.server.get(api.POD, pod.metadata.name, "default").document
        return msgspec.json.encode({"Pod": shown, "NodeNames": self.names})


async def turns(count: int = TURNS) -> None:
    """Let everything run that waits for nothing."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_next_pod_is_answered_once_the_one_before_has_its_node() -> None:
    """Two empty nodes are equal, so kube-scheduler chooses; the next filter call may overtake the bind call, and is
    answered with that choice known: the second pod lies beside the first, and opens no second GPU.
    """
    world = ExtenderOnServer(2)
    first, second = world.pod("first", "1g.5gb"), world.pod("second", "1g.5gb")
    assert await world.filter(first) == ["n0", "n1"]
    await world.prioritize(first)
    overtaking = asyncio.create_task(world.filter(second))
    await turns()
    assert not overtaking.done()
    assert await world.bind(first, "n1") == ""
    assert await overtaking == ["n1"]


async def test_a_binding_that_does_not_come_holds_up_the_next_pod_for_a_moment_only() -> None:
    """It may wait for a volume: after its time the next pod is answered, and the one after that at once."""
    world = ExtenderOnServer(2, tie_wait_s=0.01)
    first = world.pod("first", "1g.5gb")
    await world.filter(first)
    await world.prioritize(first)
    assert await world.filter(world.pod("second", "1g.5gb")) == ["n0", "n1"]
    third = asyncio.create_task(world.filter(world.pod("third", "1g.5gb")))
    await turns()
    assert third.done()


async def test_a_pod_does_not_wait_for_itself() -> None:
    """Asked about again, a pod has lost its last turn: nobody waits for that Binding any more."""
    world = ExtenderOnServer(2)
    first = world.pod("first", "1g.5gb")
    await world.filter(first)
    await world.prioritize(first)
    again = asyncio.create_task(world.filter(first))
    await turns()
    assert again.done()


async def test_what_changes_while_a_filter_call_waits_counts_in_its_answer() -> None:
    """A pod that gets its claim while its own filter call waits for another pod's Binding is sent to that claim."""
    world = ExtenderOnServer(2)
    first, second = world.pod("first", "1g.5gb"), world.pod("second", "1g.5gb")
    await world.filter(first)
    await world.prioritize(first)
    waiting = asyncio.create_task(world.filter(second))
    await turns()
    assert not waiting.done()
    claim = world.state.inventory.reserve(second.metadata.uid, "default", "second", request("1g.5gb"), "n1")
    assert isinstance(claim, Claim)
    assert await world.bind(first, "n0") == ""
    assert await waiting == ["n1"]


@pytest.mark.parametrize("where", ["n0", "gone"])
async def test_a_refused_binding_lets_the_next_pod_go_on(where: str) -> None:
    """The room was taken meanwhile, or the node is gone: the next one hears at once what is left."""
    world = ExtenderOnServer(2)
    first, second = world.pod("first", "7g.40gb"), world.pod("second", "7g.40gb")
    await world.filter(first)
    await world.prioritize(first)
    waiting = asyncio.create_task(world.filter(second))
    await turns()
    assert not waiting.done()
    world.hold("rival", "n0", "1g.5gb")
    assert await world.bind(first, where) != ""
    assert await waiting == ["n1"]


@pytest.mark.parametrize("turn", range(TURNS))
async def test_between_nomination_and_claim_there_is_no_gap(turn: int) -> None:
    """Whenever a filter call comes while a Binding is being made, the place that it will take counts as taken."""
    world = ExtenderOnServer(2)
    world.hold("half", "n0", "4g.20gb")
    first = world.pod("first", "3g.20gb")
    assert await world.filter(first) == ["n0"]
    binding = asyncio.create_task(world.bind(first, "n0"))
    await turns(turn)
    assert await world.filter(world.pod("second", "3g.20gb")) == ["n1"]
    assert await binding == ""


async def test_all_pods_on_their_way_to_a_node_count() -> None:
    """A node with room for two is offered to two pods; while their Bindings are on the way the next go elsewhere."""
    world = ExtenderOnServer(2)
    world.hold("half", "n0", "3g.20gb")
    world.hold("quarter", "n0", "2g.10gb")  # what is left of n0 takes two 1g.5gb
    pods = [world.pod(f"p{number}", "1g.5gb") for number in range(4)]
    assert [await world.filter(pod) for pod in pods] == [["n0"], ["n0"], ["n1"], ["n1"]]


@pytest.mark.parametrize("seed", range(20))
async def test_a_pod_is_offered_what_it_would_be_if_those_before_it_were_bound(seed: int) -> None:
    """Whatever pods come one after the other, nominations rank the nodes as the claims will that they become."""
    chance = random.Random(seed)
    on_their_way, bound = ExtenderOnServer(3), ExtenderOnServer(3)
    for world in (on_their_way, bound):
        world.hold("half", "n0", "4g.20gb")
        world.hold("eighth", "n1", "1g.5gb")
    unbound: list[tuple[Pod, str]] = []
    for number in range(12):
        name, profile = f"p{number}", chance.choice(["1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"])
        pod, twin = on_their_way.pod(name, profile), bound.pod(name, profile)
        offered, expected = await on_their_way.filter(pod), await bound.filter(twin)
        if not expected:
            break  # here they differ: a nominated node is offered last, one that is full by now is refused
        assert offered == expected, f"{name} asks for {profile}"
        assert await bound.bind(twin, expected[0]) == ""
        unbound.append((pod, offered[0]))
        if len(offered) > 1:  # nobody is nominated; kube-scheduler chooses, and its Bindings come before the next pod
            for before, node in unbound:
                assert await on_their_way.bind(before, node) == ""
            unbound.clear()


async def test_those_who_wait_are_told_when_the_last_choice_is_made() -> None:
    """With two pods on their way a third waits for both."""
    nominations = Nominations(nomination_ttl_s=1, tie_wait_s=60)
    nominations.mark_tied("a")
    nominations.mark_tied("b")
    waiting = asyncio.create_task(nominations.await_pending_binds())
    await turns()
    nominations.forget("a")
    await turns()
    assert not waiting.done()
    nominations.forget("b")
    await turns()
    assert waiting.done()


def test_a_nomination_is_forgotten_after_its_time() -> None:
    """A Binding that has not come by then may never come."""
    nominations = Nominations(nomination_ttl_s=0.0, tie_wait_s=0)
    nominations.nominate("a", Request(), "n0")
    assert nominations.incoming("b") == {}
