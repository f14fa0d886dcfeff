"""The lock of the API: who is admitted, who is refused in which words, and what is asked of the API server for it."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest

from allocator import errors
from kubeclient.reviews import User
from scheduler.api import documentation
from scheduler.lock import bearer
from scheduler.lock.known_callers import KnownCallers, ReviewLimits
from scheduler.lock.lock import Admitted, ApiLock, RefusedCall
from simulator.cluster.memory_cluster.faults import Fault
from simulator.cluster.memory_cluster.reviews import MemoryReviews
from tests.waiting import eventually

NODES = "/api/v1/nodes"
READER = User("system:serviceaccount:apps:reader", "", ("readers",))
STRANGER = User("o'neil")
LIMITS = ReviewLimits(known_s=30, refused_s=5, most=8, places=2, waiting=4, pace_s=0, review_s=0.2)


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class Locked:
    """A lock before a cluster with a reader and a user without rights."""

    reviews: MemoryReviews = field(default_factory=MemoryReviews)
    clock: Clock = field(default_factory=Clock)
    limits: ReviewLimits = LIMITS
    open_metrics: bool = False

    def __post_init__(self) -> None:
        self.reviews.give_token("reads", READER)
        self.reviews.give_token("cannot", STRANGER)
        self.reviews.grant("readers", "get", "/migsched/*")
        self.callers = KnownCallers(self.reviews, self.limits, clock=self.clock, wall=lambda: self.clock.now)
        self.lock = ApiLock(self.callers, open_metrics=self.open_metrics)

    async def ask(
        self, token: str | None, path: str = NODES, method: str = "GET", address: str = "10.0.0.1"
    ) -> Admitted | RefusedCall:
        """What the lock says to a request."""
        headers = [] if token is None else [f"Bearer {token}"]
        return await self.lock.ask(method, path, headers, address)

    async def status(self, token: str | None, path: str = NODES, method: str = "GET", address: str = "") -> int:
        """The status of a refusal, 200 for none."""
        answer = await self.ask(token, path, method, address)
        return answer.status if isinstance(answer, RefusedCall) else 200


def jwt(ends_at: object) -> str:
    """A token that says when it ends; its signature is nobody's business here."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, {"exp": ends_at})
    ]
    return ".".join((*parts, "c2ln"))


async def test_strangers_users_and_users_with_the_right() -> None:
    """No token or a bad one is 401, a right that is missing 403, and who has it is admitted by name."""
    locked = Locked()
    for token in (None, "bad"):
        refused = await locked.ask(token)
        assert isinstance(refused, RefusedCall)
        assert (refused.status, refused.headers["WWW-Authenticate"][:6]) == (HTTPStatus.UNAUTHORIZED, "Bearer")
        assert "kubectl create token" in refused.detail
    assert await locked.ask("reads") == Admitted(READER.username)
    assert await locked.status("reads", "/api/v1/plan", "POST") == 403


async def test_the_documented_answer_to_strangers_is_the_locks() -> None:
    """The OpenAPI document's example of 401 is what a request without a token gets."""
    refused = await Locked().ask(None)
    assert isinstance(refused, RefusedCall)
    (example,) = documentation.EXAMPLES.problems["401"]
    assert example.answer == {"detail": refused.detail}


async def test_a_refusal_says_which_role_to_bind() -> None:
    """Who may not is told the command that allows it, with a name that is safe in a shell."""
    locked = Locked()
    refused = await locked.ask("cannot")
    assert isinstance(refused, RefusedCall)
    assert "may not get /migsched/api/v1/nodes" in refused.detail
    assert """--clusterrole=migsched-reader --user='o'"'"'neil'""" in refused.detail
    refused = await locked.ask("reads", "/api/v1/plan", "POST")
    assert isinstance(refused, RefusedCall)
    assert "--clusterrole=migsched-operator --serviceaccount=apps:reader" in refused.detail


async def test_probes_are_open_and_metrics_if_told_so() -> None:
    """Probes ask for nothing; metrics ask for a right, unless they are opened, and the API server is not asked."""
    for open_metrics, metrics in ((False, 401), (True, 200)):
        locked = Locked(open_metrics=open_metrics)
        assert [await locked.status(None, path) for path in ("/livez", "/readyz", "/metrics")] == [200, 200, metrics]
        assert locked.reviews.asked == 0


async def test_what_has_no_row_is_not_served() -> None:
    """An unknown path, or method, is 401 to strangers and 404 or 405 to users; it never passes."""
    locked = Locked()
    for path in ("/api/v1/secrets", "/api/v1/nodes/", "//api/v1/nodes", "/livez/../api/v1/nodes"):
        assert [await locked.status(token, path) for token in (None, "reads")] == [401, 404]
    for method in ("DELETE", "HEAD", "OPTIONS", "get", "POST"):
        assert [await locked.status(token, method=method) for token in (None, "reads")] == [401, 405]
    assert await locked.status(None, "/livez", "POST") == 401


@pytest.mark.parametrize(
    "headers",
    [
        ["Bearer"],
        ["Bearer "],
        ["Basic cmVhZHM="],
        ["reads"],
        ["Bearer reads more"],
        ["Bearer reads\x00"],
        ["Bearer re\tads"],
        ["Bearer \xff\xfe"],
        ["Bearer reads", "Bearer reads"],
        [f"Bearer {'x' * (bearer.MOST + 1)}"],
        [f"Bearer {'x' * 65536}"],
    ],
    ids=lambda headers: repr(headers[0][:20]),
)
async def test_a_header_that_is_no_token_is_refused_without_a_question(headers: list[str]) -> None:
    """Control bytes, other schemes, two headers and tokens that are too long never reach the API server."""
    locked = Locked()
    answer = await locked.lock.ask("GET", NODES, headers, "10.0.0.1")
    assert isinstance(answer, RefusedCall)
    assert (answer.status, locked.reviews.asked) == (401, 0)


async def test_answers_are_kept_for_their_time() -> None:
    """A token and a right are asked for once in `known_s`; afterwards a token that was taken away is refused."""
    locked = Locked()
    for _ in range(10):
        assert await locked.status("reads") == 200
    assert locked.reviews.asked == 2
    locked.reviews.take_token("reads")
    locked.clock.now += LIMITS.known_s - 1
    assert await locked.status("reads") == 200
    locked.clock.now += 1
    assert await locked.status("reads") == 401


async def test_what_was_refused_is_asked_again_sooner() -> None:
    """A token and a right that are given are noticed within `refused_s`, and not asked for by each call."""
    locked = Locked()
    assert [await locked.status(token) for token in ("new", "new", "cannot", "cannot")] == [401, 401, 403, 403]
    assert locked.reviews.asked == 3
    locked.reviews.give_token("new", READER)
    locked.reviews.grant(STRANGER.username, "get", "/migsched/api/v1/nodes")
    locked.clock.now += LIMITS.refused_s
    assert [await locked.status(token) for token in ("new", "cannot")] == [200, 200]


@pytest.mark.parametrize(("lives_s", "asked"), [(10.0, 2), (0.0, 3), (-5.0, 3)], ids=str)
async def test_no_token_counts_longer_than_it_lives(lives_s: float, asked: int) -> None:
    """A token that ends sooner than `known_s` is asked about again from its end on."""
    locked = Locked()
    token = jwt(locked.clock.now + lives_s)
    locked.reviews.give_token(token, READER)
    assert [await locked.status(token), await locked.status(token)] == [200, 200]
    assert locked.reviews.asked >= asked
    locked.reviews.take_token(token)
    locked.clock.now += max(lives_s, 0.0)
    assert await locked.status(token) == 401


@pytest.mark.parametrize(
    "token", ["a.b.c", "a.!!.c", "a.e30.c", "opaque", jwt("soon"), jwt(10**400), jwt(None)], ids=repr
)
def test_a_token_that_does_not_say_when_it_ends_has_no_end(token: str) -> None:
    """Whatever is between the dots, reading it raises nothing."""
    assert bearer.ends_at(token) is None


async def test_an_api_server_that_is_away_opens_nothing() -> None:
    """Who is not known gets 503 with Retry-After; who is known stays known for the rest of the time."""
    locked = Locked()
    assert await locked.status("reads") == 200
    for error in (
        errors.UnreachableError("away"),
        errors.RefusedError("forbidden"),
        errors.TooManyRequestsError("busy"),
    ):
        locked.reviews.faults.clear()
        locked.reviews.faults.add(Fault("create", error=error, times=None))
        refused = await locked.ask("cannot")
        assert isinstance(refused, RefusedCall)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert await locked.status("bad") == 503
        assert await locked.status("reads") == 200
    locked.clock.now += LIMITS.known_s
    assert await locked.status("reads") == 503
    locked.reviews.faults.clear()
    assert await locked.status("reads") == 200


async def test_an_api_server_that_does_not_answer_is_away() -> None:
    """A review that hangs ends after its time as 503, and gives its place back."""
    locked = Locked()
    locked.reviews.faults.add(Fault("create", hold=asyncio.Event(), times=None))
    assert [await locked.status(f"t{n}") for n in range(3)] == [503, 503, 503]
    locked.reviews.faults.clear()
    assert await locked.status("reads") == 200


async def test_all_who_bring_one_token_wait_for_one_review() -> None:
    """A crowd with the same token costs one question, and one that leaves does not take the answer from the others."""
    locked = Locked()
    gate = asyncio.Event()
    locked.reviews.faults.add(Fault("create", hold=gate, times=1))
    crowd = [asyncio.create_task(locked.status("reads")) for _ in range(50)]
    await eventually(lambda: locked.reviews.asked == 1, "it is asked")
    crowd.pop(0).cancel()
    gate.set()
    assert await asyncio.gather(*crowd) == [200] * 49
    assert locked.reviews.asked == 2


async def test_ten_thousand_tokens_flood_nobody() -> None:
    """Many different tokens leave memory and reviews in flight bounded, and push out nobody whose token is good."""
    locked = Locked()
    assert await locked.status("reads") == 200
    strangers = [asyncio.create_task(locked.status(f"bad-{n}", address="10.9.9.9")) for n in range(10_000)]
    statuses = await asyncio.gather(*strangers)
    assert set(statuses) == {401, 503}
    assert locked.reviews.most_in_flight <= LIMITS.places
    assert len(locked.callers) <= 2 * LIMITS.most
    asked = locked.reviews.asked
    assert await locked.status("reads") == 200
    assert locked.reviews.asked == asked


async def test_a_stranger_does_not_keep_others_from_being_asked_about() -> None:
    """While one address fills all places that wait, a newcomer of another address gets a turn."""
    locked = Locked(limits=ReviewLimits(places=1, waiting=4, pace_s=0, review_s=5))
    gate = asyncio.Event()
    locked.reviews.faults.add(Fault("create", hold=gate, times=1))
    strangers = [asyncio.create_task(locked.status(f"bad-{n}", address="10.9.9.9")) for n in range(6)]
    await eventually(lambda: sum(task.done() for task in strangers) == 1, "one has no place to wait")
    newcomer = asyncio.create_task(locked.status("reads", address="10.0.0.1"))
    await eventually(lambda: sum(task.done() for task in strangers) == 2, "another one makes room")
    gate.set()
    assert await newcomer == 200
    assert sorted(await asyncio.gather(*strangers)) == [401] * 4 + [503] * 2


async def test_reviews_have_a_pace() -> None:
    """A place is not used again before its time, so that fast answers do not make a flood."""
    locked = Locked(limits=ReviewLimits(places=1, waiting=8, pace_s=0.02))
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(locked.status(f"bad-{n}", address=str(n)) for n in range(5)))
    assert clock() - began >= 4 * 0.02


async def test_what_is_over_is_forgotten() -> None:
    """Entries that count no longer go, without anybody asking for them again."""
    locked = Locked()
    for token in ("reads", "cannot", "bad"):
        await locked.status(token)
    assert len(locked.callers) == 3
    locked.clock.now += LIMITS.known_s
    await locked.status("reads")
    assert len(locked.callers) == 1


async def test_a_user_with_more_groups_than_are_kept_is_refused() -> None:
    """What a token brings into memory has a bound, and beyond it is 403."""
    locked = Locked()
    locked.reviews.give_token("many", User("many", "", tuple(f"group-{n}" for n in range(10_000))))
    assert (await locked.status("many"), len(locked.callers)) == (403, 0)


def test_headers_of_every_case_are_read() -> None:
    """The scheme has no case, and spaces around the token do not count."""
    read: Callable[[list[str]], str] = bearer.read
    assert [read([text]) for text in ("Bearer a", "bearer a", "BEARER  a ")] == ["a"] * 3
