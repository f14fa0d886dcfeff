"""Whatever is posted to the extender gets an answer in JSON, and leaves the books as they were."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from scheduler.extender.routes import Routes
from scheduler.metrics import Metrics
from tests.fuzzing import SEED, budget, damaged
from tests.poisons import POISONS
from tests.unit.scheduler.extender_over_nodes import ExtenderOverNodes, a_pod

BODIES = budget(50_000)  # by the profile `ci`, a fifth by `dev`
VERBS = ("filter", "prioritize", "bind", "preempt")
RECORDED = Path(__file__).parent.parent / "contract" / "wire" / "golden"  # calls of a genuine kube-scheduler
CALLS = {
    path.name.partition("-")[0]: msgspec.json.decode(path.read_bytes().replace(b'"node-', b'"n'))["request"]
    for path in sorted(RECORDED.glob("*-names.json"))
}
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 1.5, "", "x" * 5_000, "\x00", [], {}, [None], [[[]]], {"": None},
    "nvidia.com/mig-1g.5gb", {"nvidia.com/mig-1g.5gb": "1"}, {"nvidia.com/mig-1g.5gb": -1},
    {"nvidia.com/mig-": "1"}, {f"nvidia.com/mig-{n}g.5gb": str(n) for n in range(1, 8)}, ["n0"] * 1_000,
)  # fmt: skip


@pytest.fixture
def world() -> ExtenderOverNodes:
    """Three nodes with a GPU each."""
    return ExtenderOverNodes(3, tie_wait_s=0.0)


def changed(document: Any, at: random.Random) -> Any:
    """The document with one value, somewhere in it, replaced by an odd one, or left out."""
    if not isinstance(document, dict | list) or not document or at.random() < 0.15:
        return at.choice(ODD_VALUES)
    copy = dict(document) if isinstance(document, dict) else list(document)
    key: Any = at.choice(sorted(copy)) if isinstance(copy, dict) else at.randrange(len(copy))
    if at.random() < 0.1:
        del copy[key]
    else:
        copy[key] = changed(copy[key], at)
    return copy


def body(verb: str, at: random.Random) -> bytes:
    """A body of kube-scheduler's, with some values or bytes that it would not send."""
    if at.random() < 0.02:
        poison = at.choice([poison.text for poison in POISONS.values() if len(poison.text) < 40_000])
        return b'{"Pod":%s,"NodeNames":["n0","n1"]}' % poison
    document = CALLS[verb]
    for _ in range(at.choice((1, 1, 2, 5))):
        document = changed(document, at)
    text = msgspec.json.encode(document)
    return damaged(text, at) if at.random() < 0.3 else text


async def answered(routes: Routes, verb: str, content: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to one POST."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await routes({"type": "http", "method": "POST", "path": f"/v1/{verb}", "headers": []}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_every_body_is_answered_and_the_books_stay_right(world: ExtenderOverNodes) -> None:
    """The status is 200, 400 or 413, the answer is JSON, and ordinary pods are placed as before afterwards."""
    at, metrics = random.Random(SEED), Metrics()
    routes = Routes(world.extender, metrics, ready=lambda: True, max_body=2**16)
    statuses: Counter[int] = Counter()
    for _ in range(BODIES):
        verb = at.choice(VERBS)
        content = body(verb, at)
        async with asyncio.timeout(30):
            status, answer = await answered(routes, verb, content)
        statuses[status] += 1
        assert status in (200, 400, 413), (verb, content[:500], answer)
        msgspec.json.decode(answer)
    world.state.inventory.check()
    assert min(statuses[200], statuses[400]) > BODIES / 10  # neither all sound nor all refused
    assert list((await world.extender.filter(a_pod("ordinary", "3g.20gb"), world.names)).nodes)
