"""The connection to an API server: calls, lists and watches, let in by a kubeconfig or by a service account.

Each service builds its port to Kubernetes on it (`scheduler.cache.kube`, `node_agent.cluster.kube`); code that needs
other objects of the API server uses it as it is. Bodies stay raw until they are decoded into partial objects
(docs/adr/0004).
Errors of the transport are translated here, in one place.
"""

import contextlib
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from allocator import errors
from config import fail_points
from kubeclient import object_reader, objects, proxy, status
from kubeclient.access import Access
from kubeclient.changes import Change, ChangeType, Listing, UnreadableObject
from kubeclient.http_client import HttpAnswer, HttpClient
from kubeclient.http_connection import MAX_ANSWER, AnswerTooLargeError
from kubeclient.object_reader import DECODER_ERRORS, TYPES, Event, EventReader, Page, PageReader
from kubeclient.service_account import ServiceAccount

T = TypeVar("T")
Versioned = TypeVar("Versioned", bound=objects.Object)

PAGE = 2_000  # objects per page of a list: keeps the peak of memory low, costs nothing in time
CALLS = 16  # in flight, each on a connection of its own; more only queue in the API server
CALL_TIMEOUT_S = 30.0
AUTHENTICATED_S = 1.0  # how long a token is used before it is asked for again; they are renewed minutes ahead
WATCH_TIMEOUT_S = 290  # the server ends a watch after this; shorter than common idle limits of proxies
SILENCE_S = 130.0  # of a watch: two of the server's bookmarks, which come every minute, have not come
UNAUTHORIZED = 401
SMALLER = 8  # by how much a page is smaller after one that was too large
ENDLESS = 16  # a line of a watch that is so many times too large has no end

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

_SHOWN = 40  # characters of an unknown type that an error repeats


class _PageTooLargeError(Exception):
    """A page of several objects is larger than an answer may be."""


class Connection:
    """A connection to one API server. Make it with `connect`, inside the event loop that uses it.

    `calls` is how many calls may be in flight; watches are not counted. An answer, or an object of a watch, of more
    than `max_answer` bytes is given up, and a watch that was silent for `silence_s`. Every method raises the
    ClusterError that fits.
    """

    def __init__(
        self,
        access: Access,
        *,
        user_agent: str = "migsched",
        calls: int = CALLS,
        max_answer: int = MAX_ANSWER,
        authenticated_s: float = AUTHENTICATED_S,
        silence_s: float = SILENCE_S,
        make_http: Callable[..., HttpClient] = HttpClient,
    ) -> None:
        self._silence_s = silence_s
        self._authenticated_s = authenticated_s
        self._access = access
        self._user_agent = user_agent
        self._http = make_http(
            access.host, access.ssl_context, calls=calls, server_name=access.server_name, max_answer=max_answer
        )
        self._max_answer = max_answer
        self._authentication: Mapping[str, str] = {}
        self._authenticated_until = -math.inf

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None = None, *, user_agent: str = "migsched", calls: int = CALLS
    ) -> "Connection":
        """Read the configuration: a kubeconfig file, or the pod's service account without one.

        Raises SettingsError if neither can be read. Nothing is sent yet.
        """
        access: Access
        if kubeconfig is None:
            access = ServiceAccount()
        else:
            from kubeclient.kubeconfig import Kubeconfig  # a second and 25 MiB that a pod can do without

            access = await Kubeconfig.load(kubeconfig)
        return await cls.to(access, user_agent=user_agent, calls=calls)

    @classmethod
    async def to(cls, access: Access, *, user_agent: str = "migsched", calls: int = CALLS) -> "Connection":
        """The connection that an access gives. Raises SettingsError for one that cannot be used, and closes it."""
        try:
            proxy.check_environment(access.host, os.environ)
            return cls(access, user_agent=user_agent, calls=calls)
        except ValueError as error:  # of urlsplit
            await access.close()
            raise errors.SettingsError("API server", access.host, f"is not a valid URL: {error}") from error
        except errors.SettingsError:
            await access.close()
            raise

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        """One call; the body of the answer, which is a JSON object."""
        what = f"{method} {path}"
        answer = await self._call(what, method, path, body, query, content_type, accept)
        status.check_object(what, answer.body)
        return answer.body

    async def create(self, path: str, body: bytes) -> None:
        """POST of what has no object of its own to answer with, such as a Binding: done only if the server says so."""
        what = f"POST {path}"
        answer = await self._call(what, "POST", path, body, None, JSON, JSON)
        status.check_created(what, answer.status, answer.body)

    async def _call(
        self,
        what: str,
        method: str,
        path: str,
        body: bytes | None,
        query: Mapping[str, str] | None,
        content_type: str,
        accept: str,
    ) -> HttpAnswer:
        with _translated(what):
            headers = await self._headers(content_type if body is not None else None, accept)
            await fail_points.pass_by("client.request")
            answer = await self._http.call(method, path, headers, body, query, timeout_s=CALL_TIMEOUT_S)
            answer = answer._replace(body=await fail_points.carry("client.answer", answer.body))
        self._check_status(what, answer.status, answer.body, answer.retry_after)
        return answer

    async def get(self, path: str, type_: type[T]) -> T:
        """One object, in part."""
        answer = await self.request("GET", path)
        with _translated(f"GET {path}"):
            return await object_reader.whole(answer, lambda text: msgspec.json.decode(text, type=type_))

    async def list(
        self, path: str, decode: Callable[[bytes | msgspec.Raw], T], query: Mapping[str, str] | None = None
    ) -> Listing[T]:
        """All objects of a collection, page by page; `query` is a selector.

        An object that `decode` refuses is left out, and named in the listing. A page that is too large is asked for
        again in smaller ones.
        """
        reader = PageReader(decode)
        items: list[T] = []
        unreadable: list[UnreadableObject] = []
        size, continue_ = PAGE, ""
        while True:
            try:
                page = await self._page(path, reader, {**(query or {}), "limit": str(size)}, continue_)
            except _PageTooLargeError:
                size = max(1, size // SMALLER)
                continue
            items += page.listing.items
            unreadable += page.listing.unreadable
            if page.continue_ == continue_ != "":
                raise errors.UnreachableError(f"list {path}: unreadable answer: a page leads to itself")
            continue_ = page.continue_
            if not continue_:
                return Listing(tuple(items), page.listing.resource_version, tuple(unreadable))

    async def _page(self, path: str, reader: PageReader[T], query: dict[str, str], continue_: str) -> Page[T]:
        """One page. Raises _PageTooLargeError for one of several objects that is larger than an answer may be."""
        if continue_:
            query["continue"] = continue_
        try:
            answer = await self.request("GET", path, query=query)
        except errors.UnreachableError as error:
            if isinstance(error.__cause__, AnswerTooLargeError) and query["limit"] != "1":
                raise _PageTooLargeError from error
            raise
        with _translated(f"list {path}"):
            return await reader.read(answer)

    async def watch(
        self,
        path: str,
        decode: Callable[[bytes | msgspec.Raw], Versioned],
        resource_version: str,
        query: Mapping[str, str] | None = None,
        *,
        gather_s: float = 0.0,
    ) -> AsyncGenerator[Change[Versioned], None]:
        """Changes of a collection after a resource version, until the server ends the watch; `query` is a selector.

        `gather_s` is how late all but the first of many changes may be, so that they are read at once, which costs
        a third less. Raises GoneError if that version is too old, or of a future that the server does not know.
        An object that `decode` refuses is a change without an item, which says what is known of it.
        """
        what = f"watch {path}"
        reader = EventReader(decode)
        with _translated(what):
            async with contextlib.aclosing(self._watched(path, resource_version, query, gather_s)) as lines:
                async for line in lines:
                    change = _without_line() if line is None else await reader.read(line)
                    if isinstance(change, Event):
                        raise _event_error(what, change)
                    yield change

    async def watch_raw(
        self, path: str, resource_version: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[tuple[ChangeType, msgspec.Raw], None]:
        """The same, undecoded."""
        what = f"watch {path}"
        with _translated(what):
            async with contextlib.aclosing(self._watched(path, resource_version, query, 0.0)) as lines:
                async for line in lines:
                    if line is None:
                        continue
                    event = await object_reader.event(line)
                    type_ = TYPES.get(event.type)
                    if type_ is None:
                        raise _event_error(what, event)
                    yield type_, event.object

    async def _watched(
        self, path: str, resource_version: str, query: Mapping[str, str] | None, gather_s: float
    ) -> AsyncGenerator[bytes | None, None]:
        """The lines of a watch; None for one that is too long."""
        what = f"watch {path}"
        parameters = {
            **(query or {}),
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
        }
        await self._reached(path, resource_version)
        headers = await self._headers(None, JSON)
        async with self._http.stream(path, headers, parameters, silence_s=self._silence_s, gather_s=gather_s) as stream:
            if stream.status >= 300:
                self._check_status(what, stream.status, await stream.read(), stream.retry_after)
            async for line in _lines(stream, self._max_answer):
                yield line if line is None else await fail_points.carry("client.event", line)

    async def _reached(self, path: str, resource_version: str) -> None:
        """Raise GoneError for a version that the server has not reached.

        etcd was put back to an older state then. A watch from such a version is not refused: it is silent until the
        server has come that far again. No selector goes with the question: a single object answers it.
        """
        parameters = {"limit": "1", "resourceVersion": resource_version, "resourceVersionMatch": "NotOlderThan"}
        await self.request("GET", path, query=parameters)

    def _check_status(self, what: str, code: int, body: bytes, retry_after: bytes) -> None:
        if code == UNAUTHORIZED:
            self._access.refused()
            self._authenticated_until = -math.inf
        if code >= 300:
            raise status.error(what, code, body, retry_after)

    async def close(self) -> None:
        """Give back connections."""
        await self._http.close()
        await self._access.close()

    async def _headers(self, content_type: str | None, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": self._user_agent}
        if content_type is not None:
            headers["Content-Type"] = content_type
        now = time.monotonic()
        if now >= self._authenticated_until:  # a fifth of a call's cost, by a kubeconfig
            self._authentication, self._authenticated_until = await self._access.headers(), now + self._authenticated_s
        return {**headers, **self._authentication}


def _event_error(what: str, event: Event) -> errors.ClusterError:
    """What an event that tells of no change says."""
    if event.type != "ERROR":
        return errors.UnreachableError(f"{what}: unreadable answer: an event of type {event.type[:_SHOWN]!r}")
    return status.event_error(what, event.object)


def _without_line() -> Change[Versioned]:
    """The change of which nothing can be told, since its line is too long."""
    return Change(ChangeType.MODIFIED, None, "", UnreadableObject("", "", "", "an event of a watch is too large"))


async def _lines(chunks: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[bytes | None]:
    """Lines, however they are cut into chunks; None for one of more than `max_bytes`, of which no more is held.

    Raises ConnectionError for one that then goes on without an end.
    """
    parts: list[bytes] = []  # of the line that has not ended
    size = 0
    async for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        for part in lines:
            size += len(part)
            if size > max_bytes:
                yield None
            elif size:
                yield b"".join((*parts, part)) if parts else part
            parts, size = [], 0
        size += len(rest)
        if size <= max_bytes:
            parts.append(rest)
        else:
            parts.clear()
        if size > ENDLESS * max_bytes:
            raise ConnectionAbortedError(f"a line of the watch is larger than {ENDLESS * max_bytes:,} bytes")


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """The errors of the layers below, the network's and the decoder's, as UnreachableError.

    The network's are OSError: those of ssl and of httptools become one where they arise. The decoder meets text that is
    not UTF-8 and values that are nested too deeply, beside what is not the JSON that it looks for.
    """
    try:
        yield
    except OSError as error:
        raise errors.UnreachableError(f"{what}: {type(error).__name__} {error}") from error
    except DECODER_ERRORS as error:
        raise errors.UnreachableError(f"{what}: unreadable answer: {error}") from error
