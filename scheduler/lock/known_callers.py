"""KnownCallers: what the API server said of tokens and rights, kept for a short time and within bounds. Of `lock`.

A token is known by its digest, so that none is kept and a long one costs no more than a short one. What was said is
forgotten after `known_s`, and at the end of the token's own life. Who was refused has a table of their own: strangers
with many tokens push out each other, and nobody whose token is good. All who bring the same token wait for one review;
few reviews are in flight, in turn among the addresses that ask.
"""

import asyncio
import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from allocator import errors
from kubeclient.reviews import Reviews, User
from scheduler.fair_queue import FairQueue
from scheduler.lock import bearer, terms
from scheduler.lock.routes import AskedRight, PathRight

T = TypeVar("T")
_MOST_OF_USER = 64 * 1024  # bytes of name, groups and the rest, as JSON


class ReviewsBusyError(errors.MigschedError):
    """So many reviews wait that this one was not asked for."""


class LargeUserError(errors.MigschedError):
    """A user has more groups than are kept."""


@dataclass(frozen=True, slots=True)
class ReviewLimits:
    """What may be kept and asked. Times are in seconds."""

    known_s: float = terms.KNOWN_S
    refused_s: float = terms.REFUSED_S
    most: int = terms.MOST_CALLERS
    places: int = terms.REVIEWS
    waiting: int = terms.REVIEWS_WAITING
    pace_s: float = terms.REVIEW_PACE_S
    review_s: float = terms.REVIEW_S


@dataclass(eq=False, slots=True)
class KnownCaller:
    """A user with a good token, until when that counts, and what is known of the user's rights."""

    user: User
    digest: bytes
    until: float
    rights: dict[AskedRight, tuple[bool, float]] = field(default_factory=dict)  # of the few that routes ask for


class KnownCallers:
    """Callers by their tokens. `clock` runs evenly; `wall` is the time of day, by which tokens end."""

    def __init__(
        self,
        reviews: Reviews,
        limits: ReviewLimits,
        audiences: tuple[str, ...] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reviews = reviews
        self._limits = limits
        self._audiences = audiences
        self._clock = clock
        self._wall = wall
        self._known: OrderedDict[bytes, KnownCaller] = OrderedDict()  # the one asked for last at the end
        self._refused: OrderedDict[bytes, float] = OrderedDict()  # until when
        self._swept_at = clock()
        self._asked: dict[Hashable, asyncio.Future[Any]] = {}  # of the type that the question has
        self._queue = FairQueue(limits.places, limits.waiting, _busy, lambda: None)

    def __len__(self) -> int:
        """How many tokens are known, good and refused."""
        return len(self._known) + len(self._refused)

    async def find(self, token: str, address: str) -> KnownCaller | None:
        """Whose token it is; None for one that is not valid.

        Raises ReviewsBusyError, LargeUserError, and the ClusterErrors of `Reviews`.
        """
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        self._sweep(now)
        known = self._known.get(digest)
        if known is not None and known.until > now:
            self._known.move_to_end(digest)
            return known
        if self._refused.get(digest, now) > now:
            return None
        return await self._shared(digest, lambda: self._review(digest, token, address))

    async def may(self, caller: KnownCaller, asked: AskedRight) -> bool:
        """Whether a caller has a right. Raises as `find` does."""
        allowed, until = caller.rights.get(asked, (False, 0.0))
        if until > self._clock():
            return allowed
        return await self._shared((caller.digest, asked), lambda: self._review_right(caller, asked))

    async def _review(self, digest: bytes, token: str, address: str) -> KnownCaller | None:
        async with self._place(f"address {address}"):
            user = await self._reviews.user_of(token, self._audiences)
        now = self._clock()
        if user is None:
            _keep(self._refused, digest, now + self._limits.refused_s, self._limits.most)
            return None
        if len(msgspec.json.encode(user)) > _MOST_OF_USER:
            raise LargeUserError(f"the user's name and groups take more than {_MOST_OF_USER} bytes")
        ends_at = bearer.ends_at(token)
        lives_s = self._limits.known_s if ends_at is None else min(self._limits.known_s, ends_at - self._wall())
        caller = KnownCaller(user, digest, now + lives_s)
        if lives_s > 0:
            _keep(self._known, digest, caller, self._limits.most)
        return caller

    async def _review_right(self, caller: KnownCaller, asked: AskedRight) -> bool:
        async with self._place(f"user {caller.user.username}"):
            if isinstance(asked, PathRight):
                allowed = await self._reviews.may(caller.user, asked.verb, asked.path)
            else:
                allowed = await self._reviews.may_on(caller.user, *asked)
        lives_s = self._limits.known_s if allowed else self._limits.refused_s
        caller.rights[asked] = (allowed, self._clock() + lives_s)
        return allowed

    async def _shared(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question that is asked once for all who want it; those who leave do not end it."""
        asked = self._asked.get(question)
        if asked is None:
            asked = asyncio.ensure_future(ask())
            self._asked[question] = asked
            asked.add_done_callback(lambda done: self._answered(question, done))
        answer: T = await asyncio.shield(asked)
        return answer

    def _answered(self, question: Hashable, asked: asyncio.Future[Any]) -> None:
        del self._asked[question]
        if not asked.cancelled():
            asked.exception()  # all who wanted to know may have left

    @contextlib.asynccontextmanager
    async def _place(self, client: str) -> AsyncIterator[None]:
        """One of the few places for reviews in flight, which is given back no sooner than `pace_s` later."""
        await self._queue.enter(client)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._limits.review_s):
                yield
        except TimeoutError as error:
            raise errors.UnreachableError(f"no answer to a review within {self._limits.review_s:g} s") from error
        finally:
            loop.call_at(max(began + self._limits.pace_s, loop.time()), self._queue.leave)

    def _sweep(self, now: float) -> None:
        """Forget what counts no longer."""
        if now < self._swept_at + self._limits.known_s:
            return
        self._swept_at = now
        for digest in [digest for digest, caller in self._known.items() if caller.until <= now]:
            del self._known[digest]
        for digest in [digest for digest, until in self._refused.items() if until <= now]:
            del self._refused[digest]


def _keep(table: OrderedDict[bytes, T], digest: bytes, entry: T, most: int) -> None:
    """Put an entry at the end of a table, and the oldest out of a full one."""
    table[digest] = entry
    table.move_to_end(digest)
    while len(table) > most:
        table.popitem(last=False)


def _busy(waiting: int) -> ReviewsBusyError:
    return ReviewsBusyError(f"{waiting} reviews of tokens wait already")
