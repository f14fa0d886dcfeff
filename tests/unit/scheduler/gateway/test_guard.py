"""The guard before the API: calls, bodies and answers have bounds, and probes always pass."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from starlette.types import Message, Receive, Scope, Send

from kubeclient.reviews import User
from scheduler.gateway import origin
from scheduler.gateway.guard import Guard
from scheduler.gateway.limits import GatewayLimits
from scheduler.lock.known_callers import KnownCallers, ReviewLimits
from scheduler.lock.lock import ApiLock
from simulator.cluster.memory_cluster.reviews import MemoryReviews
from tests.waiting import eventually

LIMITS = GatewayLimits(calls=8, body_bytes=10, body_s=0.1, send_s=0.1)


@dataclass
class Call:
    """One request, and what was answered."""

    path: str = "/api/v1/plan"
    client: str = "10.0.0.1"
    body: bytes | None = b"{}"  # None never comes
    headers: dict[str, str] = field(default_factory=dict)
    takes: bool = True  # whether the client takes the answer
    sent: list[Message] = field(default_factory=list)

    async def over(self, guard: Guard) -> "Call":
        """Itself, once it is answered."""
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "client": (self.client, 1),
            "headers": [
                (name.encode(), value.encode()) for name, value in {"host": "localhost", **self.headers}.items()
            ],
        }
        await guard(scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        if self.body is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if not self.takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The answer's status."""
        status: int = self.sent[0]["status"]
        return status

    @property
    def detail(self) -> str:
        """The problem's text."""
        return str(msgspec.json.decode(self.sent[1]["body"])["detail"])


class Application:
    """Answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Application."""
        del scope
        self.bodies.append((await receive())["body"])
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def application() -> Application:
    """What is guarded."""
    return Application()


async def test_one_client_leaves_room_for_others(application: Application) -> None:
    """A quarter of the calls is for one address; beyond, it gets 503 with Retry-After, and others are answered."""
    guard = Guard(application, LIMITS)
    running = [asyncio.create_task(Call().over(guard)) for _ in range(2)]
    await eventually(lambda: guard.in_flight == 2, "both are in work")
    refused = await Call().over(guard)
    assert (refused.status, (b"retry-after", b"1") in refused.sent[0]["headers"]) == (503, True)
    other = asyncio.create_task(Call(client="10.0.0.2").over(guard))
    application.go_on.set()
    assert [(await call).status for call in (*running, other)] == [200, 200, 200]
    assert guard.in_flight == 0


async def test_behind_a_lock_a_part_is_a_users(application: Application) -> None:
    """Two users behind one address have a part each, one user behind two addresses has one, and strangers have none."""
    reviews = MemoryReviews()
    for name in ("a", "b"):
        reviews.give_token(name, User(name))
        reviews.grant(name, "post", "/migsched/*")
    guard = Guard(application, LIMITS, ApiLock(KnownCallers(reviews, ReviewLimits(pace_s=0))))

    def call(token: str, client: str) -> Call:
        return Call(client=client, headers={"authorization": f"Bearer {token}"})

    running = [asyncio.create_task(call("a", f"10.0.0.{n}").over(guard)) for n in range(2)]
    await eventually(lambda: guard.in_flight == 2, "both are in work")
    assert (await call("a", "10.0.0.9").over(guard)).status == 503
    assert (await call("c", "10.0.0.9").over(guard)).status == 401
    other = asyncio.create_task(call("b", "10.0.0.0").over(guard))
    await eventually(lambda: guard.in_flight == 3, "the other user's is in work")
    application.go_on.set()
    assert [(await task).status for task in (*running, other)] == [200] * 3


async def test_probes_pass_when_all_places_are_taken(application: Application) -> None:
    """The kubelet gets its answer from the application whatever clients do, under whatever name it asks."""
    guard = Guard(application, LIMITS)
    tasks = [asyncio.create_task(Call(client=f"10.0.0.{n}").over(guard)) for n in range(8)]
    await eventually(lambda: guard.in_flight == 8, "all places are taken")
    assert (await Call(client="10.0.1.1").over(guard)).status == 503
    probe = asyncio.create_task(Call(path="/readyz", headers={"host": "kubelet"}).over(guard))
    application.go_on.set()
    assert (await probe).status == 200
    await asyncio.gather(*tasks)


async def test_a_body_has_its_time_and_size(application: Application) -> None:
    """A body that does not come is 408, one that is too long 413, by its length or its bytes; none is passed on."""
    guard = Guard(application, LIMITS)
    assert (await Call(body=None).over(guard)).status == 408
    said = await Call(body=None, headers={"content-length": "11"}).over(guard)
    came = await Call(body=b"x" * 11).over(guard)
    assert (said.status, came.status) == (413, 413)
    assert "api_max_body_mib" in came.detail
    assert application.bodies == []


async def test_an_answer_that_is_not_taken_ends(application: Application) -> None:
    """A client that does not read gives its place back after its time."""
    application.go_on.set()
    guard = Guard(application, LIMITS)
    slow = await Call(takes=False).over(guard)
    assert (slow.sent, guard.in_flight) == ([], 0)


ALLOWED: list[dict[str, Any]] = [
    {"host": "localhost:8080"},
    {"host": "[fd00::1]:8080"},
    {"host": "10.1.2.3"},
    {"host": "migsched:8080"},
    {"host": "Migsched."},
    {"host": None},
    {"host": "localhost:8080", "origin": "http://localhost:8080", "fetch_site": "same-origin"},
    {"host": "localhost:8080", "fetch_site": "none"},
]
REFUSED: list[dict[str, Any]] = [
    {"host": "page.example"},
    {"host": "localhost.page.example"},
    {"host": "10.1.2.3.page.example"},
    {"host": ""},
    {"host": "localhost:8080", "origin": "http://page.example"},
    {"host": "localhost:8080", "origin": "http://localhost:9090"},
    {"host": "localhost", "origin": "null"},
    {"host": "localhost", "fetch_site": "cross-site"},
    {"host": "localhost", "fetch_site": "same-site"},
]


@pytest.mark.parametrize("asked", ALLOWED, ids=str)
def test_programs_and_own_pages_are_answered(asked: dict[str, Any]) -> None:
    """IP addresses, localhost and the API's names are hosts; what a person types has no foreign origin."""
    assert origin.refusal({"migsched"}, asked["host"], asked.get("origin"), asked.get("fetch_site")) is None


@pytest.mark.parametrize("asked", REFUSED, ids=str)
def test_foreign_names_and_pages_are_refused(asked: dict[str, Any]) -> None:
    """A name that is not the API's, or a page of another site, is told why it gets no answer."""
    assert origin.refusal({"migsched"}, asked["host"], asked.get("origin"), asked.get("fetch_site"))


def test_every_name_can_be_admitted() -> None:
    """A star admits every host, and still no page of another site."""
    assert origin.refusal({origin.ANY}, "page.example", None, None) is None
    assert origin.refusal({origin.ANY}, "page.example", "http://other.example", None)
