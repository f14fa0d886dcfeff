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
from kubeclient import objects, proxy
from kubeclient.access import Access
from kubeclient.changes import Change, ChangeType, Listing
from kubeclient.http_client import HttpClient
from kubeclient.http_connection import MAX_ANSWER
from kubeclient.service_account import ServiceAccount

T = TypeVar("T")
Versioned = TypeVar("Versioned", bound=objects.Object)

PAGE = 2_000  # objects per page of a list: keeps the peak of memory low, costs nothing in time
CALLS = 16  # in flight, each on a connection of its own; more only queue in the API server
CALL_TIMEOUT_S = 30.0
AUTHENTICATED_S = 1.0  # how long a token is used before it is asked for again; they are renewed minutes ahead
WATCH_TIMEOUT_S = 290  # the server ends a watch after this; shorter than common idle limits of proxies
DEFAULT_RETRY_AFTER_S = 1.0  # where a busy server does not say when to try again; kube-apiserver says this
MAX_RETRY_AFTER_S = 30.0  # however long it says
SILENCE_S = WATCH_TIMEOUT_S + 30.0  # of a watch: its server or the network is dead

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_TOO_MANY_REQUESTS = 429
_REFUSED = frozenset({400, 401, 403, 405, 413, 415, 422})
_ERRORS: Mapping[int, type[errors.ClusterError]] = {
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.GoneError,
}
_TYPES = {type_.value: type_ for type_ in ChangeType}


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    items: tuple[msgspec.Raw, ...] | None = ()
    metadata: _ListMeta = _ListMeta()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] | None = None


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 0
    details: _Details | None = None


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _ListMeta


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(_Event)
_STATUS = msgspec.json.Decoder(_Status)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)


class Connection:
    """A connection to one API server. Make it with `connect`, inside the event loop that uses it.

    `calls` is how many calls may be in flight; watches are not counted. An answer, or an object of a watch, of more
    than `max_answer` bytes is given up. Every method raises the ClusterError that fits.
    """

    def __init__(
        self,
        access: Access,
        *,
        user_agent: str = "migsched",
        calls: int = CALLS,
        max_answer: int = MAX_ANSWER,
        authenticated_s: float = AUTHENTICATED_S,
    ) -> None:
        self._authenticated_s = authenticated_s
        self._access = access
        self._user_agent = user_agent
        self._http = HttpClient(
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
        """One call; the body of the answer."""
        what = f"{method} {path}"
        with _translated(what):
            headers = await self._headers(content_type if body is not None else None, accept)
            answer = await self._http.call(method, path, headers, body, query, timeout_s=CALL_TIMEOUT_S)
        if answer.status >= 300:
            raise _error(what, answer.status, answer.body, answer.retry_after)
        return answer.body

    async def get(self, path: str, type_: type[T]) -> T:
        """One object, in part."""
        answer = await self.request("GET", path)
        with _translated(f"GET {path}"):
            return msgspec.json.decode(answer, type=type_)

    async def list(
        self, path: str, decode: Callable[[msgspec.Raw], T], query: Mapping[str, str] | None = None
    ) -> Listing[T]:
        """All objects of a collection, page by page; `query` is a selector."""
        items: list[T] = []
        parameters = {**(query or {}), "limit": str(PAGE)}
        while True:
            answer = await self.request("GET", path, query=parameters)
            with _translated(f"list {path}"):
                page = _PAGE.decode(answer)
                items += [decode(raw) for raw in page.items or ()]
            if not page.metadata.continue_:
                return Listing(tuple(items), page.metadata.resource_version)
            parameters["continue"] = page.metadata.continue_

    async def watch(
        self,
        path: str,
        decode: Callable[[msgspec.Raw], Versioned],
        resource_version: str,
        query: Mapping[str, str] | None = None,
        *,
        gather_s: float = 0.0,
    ) -> AsyncGenerator[Change[Versioned], None]:
        """Changes of a collection after a resource version, until the server ends the watch; `query` is a selector.

        `gather_s` is how late all but the first of many changes may be, so that they are read at once, which costs
        a third less. Raises GoneError if that version is too old, or of a future that the server does not know.
        """
        with _translated(f"watch {path}"):
            async with contextlib.aclosing(self.watch_raw(path, resource_version, query, gather_s)) as events:
                async for type_, raw in events:
                    if type_ is ChangeType.BOOKMARK:
                        yield Change(type_, None, _BOOKMARK.decode(raw).metadata.resource_version)
                        continue
                    item = decode(raw)
                    yield Change(type_, item, item.metadata.resource_version)

    async def watch_raw(
        self, path: str, resource_version: str, query: Mapping[str, str] | None = None, gather_s: float = 0.0
    ) -> AsyncGenerator[tuple[ChangeType, msgspec.Raw], None]:
        """The same, undecoded."""
        parameters = {
            **(query or {}),
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
        }
        what = f"watch {path}"
        await self._reached(path, resource_version)
        with _translated(what):
            headers = await self._headers(None, JSON)
            async with self._http.stream(path, headers, parameters, silence_s=SILENCE_S, gather_s=gather_s) as stream:
                if stream.status >= 300:
                    raise _error(what, stream.status, await stream.read(), stream.retry_after)
                async for line in _lines(stream, self._max_answer):
                    yield _event(what, line)

    async def _reached(self, path: str, resource_version: str) -> None:
        """Raise GoneError for a version that the server has not reached.

        etcd was put back to an older state then. A watch from such a version is not refused: it is silent until the
        server has come that far again. No selector goes with the question: a single object answers it.
        """
        parameters = {"limit": "1", "resourceVersion": resource_version, "resourceVersionMatch": "NotOlderThan"}
        await self.request("GET", path, query=parameters)

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


def _event(what: str, line: bytes) -> tuple[ChangeType, msgspec.Raw]:
    """One line of a watch. Raises what an ERROR event says."""
    event = _EVENT.decode(line)
    type_ = _TYPES.get(event.type)
    if type_ is not None:
        return type_, event.object
    if event.type != "ERROR":
        raise errors.UnreachableError(f"{what}: unreadable answer: an event of type {event.type!r}")
    status = _STATUS.decode(event.object)
    raise _error(what, status.code, status.message.encode())


async def _lines(chunks: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """Lines, however they are cut into chunks. Raises ConnectionError for one of more than `max_bytes`."""
    parts: list[bytes] = []  # of the line that has not ended
    size = 0
    async for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        for part in lines:
            line = b"".join((*parts, part)) if parts else part
            parts, size = [], 0
            if line:
                yield line
        parts.append(rest)
        size += len(rest)
        if size > max_bytes:
            raise ConnectionAbortedError(f"an object is larger than {max_bytes:,} bytes")


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
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise errors.UnreachableError(f"{what}: unreadable answer: {error}") from error


def _error(what: str, status: int, body: bytes, retry_after: bytes = b"") -> errors.ClusterError:
    """The ClusterError for an HTTP status."""
    causes: tuple[_Cause, ...] = ()
    try:
        said = _STATUS.decode(body)
        message, causes = said.message, (said.details and said.details.causes) or ()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        message = body[:200].decode(errors="replace")
    text = f"{what}: HTTP {status}: {message}"
    if any(cause.reason == "ResourceVersionTooLarge" for cause in causes):
        return errors.GoneError(text)
    if status == _TOO_MANY_REQUESTS:
        return errors.TooManyRequestsError(text, _retry_after_s(retry_after))
    if status in _ERRORS:
        return _ERRORS[status](text)
    return errors.RefusedError(text) if status in _REFUSED else errors.UnreachableError(text)


def _retry_after_s(header: bytes) -> float:
    """The seconds in a Retry-After header, bounded. A date in it is not read: kube-apiserver sends seconds."""
    text = header.decode("ascii", errors="replace").strip()
    if not (text.isascii() and text.isdigit()):
        return DEFAULT_RETRY_AFTER_S
    return float(min(int(text[:9]), MAX_RETRY_AFTER_S))
