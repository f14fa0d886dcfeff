"""The connection to an API server, over HTTP on loopback: pages, watches, headers, and each kind of failure."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import test_utils, web

from allocator import errors
from kubeclient import kube, status
from kubeclient.changes import Change, ChangeType
from kubeclient.http_connection import MAX_ANSWER
from kubeclient.objects import Node
from tests.unit.kubeclient.kubeconfigs import kubeconfig
from tests.unit.kubeclient.plain_access import PlainAccess

NODES = "/api/v1/nodes"
DECODE = msgspec.json.Decoder(Node).decode
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler, max_answer: int = MAX_ANSWER) -> AsyncIterator[kube.Connection]:
    """A connection to an API server that answers everything with a handler."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    async with test_utils.TestServer(application) as server:
        access = PlainAccess(str(server.make_url("/")), token="secret")
        connection = kube.Connection(access, user_agent="me", max_answer=max_answer)
        yield connection
        await connection.close()


def answering(status: int = 200, body: bytes = b"{}") -> Handler:
    """Always the same answer."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    return handler


def streaming(*chunks: bytes) -> Handler:
    """A watch that sends chunks, each by itself, and ends."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        return response

    return handler


def event(type_: str, **of: Any) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": type_, "object": of}).encode() + b"\n"


def node(name: str, version: str = "1") -> dict[str, Any]:
    """A node in JSON."""
    return {"kind": "Node", "metadata": {"name": name, "resourceVersion": version}, "status": {"capacity": {}}}


async def watched(connection: kube.Connection) -> list[tuple[ChangeType, str, str]]:
    """(type, name, version) of all changes."""
    changes: list[Change[Node]] = [one async for one in connection.watch(NODES, DECODE, "1")]
    return [(one.type, one.item.metadata.name if one.item else "", one.resource_version) for one in changes]


async def test_a_call_says_who_asks_and_what_it_sends() -> None:
    """Token, user agent and content type go with a call; the body of the answer comes back as it is."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(status=201, body=await request.read())

    async with served(handler) as connection:
        body = await connection.request("PATCH", NODES, body=b"{ }", content_type=kube.MERGE_PATCH, query={"a": "b c"})
    assert body == b"{ }"
    (request,) = seen
    assert (request.method, request.path_qs) == ("PATCH", f"{NODES}?a=b+c")
    names = ("Authorization", "User-Agent", "Content-Type", "Accept")
    assert [request.headers[name] for name in names] == ["Bearer secret", "me", kube.MERGE_PATCH, kube.JSON]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.RefusedError),
        (401, errors.RefusedError),
        (403, errors.RefusedError),
        (422, errors.RefusedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (410, errors.GoneError),
        (429, errors.TooManyRequestsError),
        (500, errors.UnreachableError),
        (503, errors.UnreachableError),
    ],
)
async def test_each_status_is_the_error_that_fits(status: int, error: type[Exception]) -> None:
    """The status decides the kind of error, and the server's words are in it, from JSON or plain text."""
    for body in (b'{"kind": "Status", "message": "no way"}', b"no way"):
        async with served(answering(status, body)) as connection:
            with pytest.raises(error, match=rf"GET {NODES}: HTTP {status}: no way") as caught:
                await connection.request("GET", NODES)
            assert type(caught.value) is error
            with pytest.raises(error, match="no way"):
                await watched(connection)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, status.DEFAULT_RETRY_AFTER_S),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("86400", status.MAX_RETRY_AFTER_S),
        ("9" * 400, status.MAX_RETRY_AFTER_S),
        ("-1", status.DEFAULT_RETRY_AFTER_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", status.DEFAULT_RETRY_AFTER_S),
    ],
)
async def test_a_busy_server_says_when_to_try_again(header: str | None, seconds: float) -> None:
    """HTTP 429 carries the seconds of Retry-After, bounded, or a default; calls and watches alike."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={} if header is None else {"retry-After": header})

    async with served(handler) as connection:
        for call in (connection.request("POST", NODES, body=b"{}"), watched(connection)):
            with pytest.raises(errors.TooManyRequestsError) as caught:
                await call
            assert caught.value.retry_after_s == seconds


async def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    """A refused connection means that nobody knows, for calls and watches alike."""
    connection = await kube.Connection.connect(kubeconfig(tmp_path, "http://127.0.0.1:1"))
    for call in (connection.request("GET", NODES), watched(connection)):
        with pytest.raises(errors.UnreachableError, match="ConnectionRefusedError"):
            await call
    await connection.close()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"items": 1}',
        b'{"metadata": {"continue": "\xff"}}',
        b'{"items": [{"metadata": {"name": "a"}}], "metadata": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"items": [{"metadata": {"name": "a"}}]',
        b"",
    ],
    ids=["no JSON", "no list", "no UTF-8", "nested too deeply", "cut off", "nothing"],
)
async def test_an_answer_that_cannot_be_read_is_unreachable(body: bytes) -> None:
    """What is no list, or a list of something else, is an error of ours and not of the decoder."""
    async with served(answering(body=body)) as connection:
        with pytest.raises(errors.UnreachableError, match="unreadable answer"):
            await connection.list(NODES, DECODE)


@pytest.mark.parametrize("of", [{}, {"metadata": {"name": 5}}])
async def test_one_object_is_decoded_in_part_or_unreachable(of: dict[str, Any]) -> None:
    """A node has the fields we read; what has not is an error of ours."""
    async with served(answering(body=json.dumps(node("n1")).encode())) as connection:
        assert (await connection.get(f"{NODES}/n1", Node)).metadata.name == "n1"
    async with served(answering(body=json.dumps(of).encode())) as connection:
        with pytest.raises(errors.UnreachableError, match=f"GET {NODES}/n1: unreadable answer"):
            await connection.get(f"{NODES}/n1", Node)


async def test_a_list_is_all_pages_at_the_version_of_the_last() -> None:
    """Pages are followed with the selector that was asked for until there are no more."""
    pages = {
        "": {"items": [node("a"), node("b")], "metadata": {"resourceVersion": "5", "continue": "p2"}},
        "p2": {"items": None, "metadata": {"resourceVersion": "5", "continue": "p3"}},
        "p3": {"items": [node("c")], "metadata": {"resourceVersion": "6"}},
    }
    asked: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.query["fieldSelector"], request.query["limit"]))
        return web.json_response(pages[request.query.get("continue", "")])

    async with served(handler) as connection:
        listing = await connection.list(NODES, DECODE, {"fieldSelector": "x=y"})
    assert [item.metadata.name for item in listing.items] == ["a", "b", "c"]
    assert listing.resource_version == "6"
    assert asked == [("x=y", str(kube.PAGE))] * 3


@pytest.mark.parametrize("size", [1, 7, 10**6])
async def test_a_watch_is_lines_however_they_are_cut(size: int) -> None:
    """Chunks may end anywhere and hold many lines; a bookmark has no object."""
    sent = (
        event("ADDED", **node("a", "2"))
        + event("MODIFIED", **node("a", "3"))
        + event("BOOKMARK", **node("", "4"))
        + event("DELETED", **node("a", "5"))
    )
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
    async with served(streaming(*chunks)) as connection:
        assert await watched(connection) == [
            (ChangeType.ADDED, "a", "2"),
            (ChangeType.MODIFIED, "a", "3"),
            (ChangeType.BOOKMARK, "", "4"),
            (ChangeType.DELETED, "a", "5"),
        ]


async def test_a_long_object_is_one_event() -> None:
    """An object may be longer than any buffer of the transport."""
    async with served(streaming(event("ADDED", **node("a"), filler="x" * 2**23))) as connection:
        assert await watched(connection) == [(ChangeType.ADDED, "a", "1")]


def on_watch(watch: Handler) -> Handler:
    """A handler for watches; other calls get an empty list."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await watch(request) if "watch" in request.query else web.json_response({"items": []})

    return handler


async def test_an_object_that_is_too_large_is_left_out_of_a_watch() -> None:
    """A line is held up to a limit only; what is larger passes unread, and the changes after it are told."""
    filler = {"filler": "x" * 10_000}
    lines = event("ADDED", **node("a")) + event("MODIFIED", **node("b"), **filler) + event("ADDED", **node("c"))
    chunks = [lines[at : at + 1000] for at in range(0, len(lines), 1000)]
    async with served(on_watch(streaming(*chunks)), max_answer=5000) as connection:
        changes = [change async for change in connection.watch(NODES, DECODE, "1")]
    assert [change.item and change.item.metadata.name for change in changes] == ["a", None, "c"]
    assert changes[1].unreadable is not None
    assert "too large" in changes[1].unreadable.reason


async def test_a_line_without_an_end_ends_the_watch() -> None:
    """A line that goes on and on is no object: the error names its size."""
    watch = streaming(event("ADDED", **node("a")), *([b"x" * 1000] * 100))
    async with served(on_watch(watch), max_answer=5000) as connection:
        with pytest.raises(errors.UnreachableError, match=r"watch .* a line of the watch is larger than 80,000 bytes"):
            await watched(connection)


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones() -> None:
    """However large the objects of a collection are together, all of them are listed."""
    names = [f"n{number}" for number in range(20)]
    limits: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        begin, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        limits.append(limit)
        end = begin + limit
        more = {"continue": str(end)} if end < len(names) else {}
        items = [node(name) | {"filler": "x" * 1000} for name in names[begin:end]]
        return web.json_response({"items": items, "metadata": {"resourceVersion": "7", **more}})

    async with served(handler, max_answer=5000) as connection:
        listing = await connection.list(NODES, DECODE)
    assert [item.metadata.name for item in listing.items] == names
    assert limits[0] == kube.PAGE
    assert min(limits) > 1


async def test_an_object_that_is_too_large_for_any_page_is_unreachable() -> None:
    """A page of one object is not made smaller: the error names the limit."""
    page = json.dumps({"items": [node("a") | {"filler": "x" * 9000}]}).encode()
    async with served(answering(body=page), max_answer=5000) as connection:
        with pytest.raises(errors.UnreachableError, match="the answer is larger than 5,000 bytes"):
            await connection.list(NODES, DECODE)


async def test_a_list_comes_to_an_end() -> None:
    """A page that leads to itself is no list."""
    page = json.dumps({"items": [node("a")], "metadata": {"continue": "again"}}).encode()
    async with served(answering(body=page)) as connection:
        with pytest.raises(errors.UnreachableError, match="a page leads to itself"):
            await connection.list(NODES, DECODE)


SUCCESS = b'{"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}'


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, SUCCESS),
        (202, SUCCESS),
        (201, b"<html>welcome</html>"),
        (201, b""),
        (201, b'{"kind": "Pod", "status": {"phase": "Running"}}'),
        (201, b'{"kind": "Status", "status": "Failure"}'),
        (201, b"[" * 10**5),
        (201, SUCCESS[:-5]),
    ],
    ids=["200", "202", "page", "nothing", "another object", "failure", "deep", "cut off"],
)
async def test_a_creation_is_done_only_if_the_server_says_so(code: int, body: bytes) -> None:
    """HTTP 201 with the Status of a success counts as done; of anything else nobody knows."""
    async with served(answering(201, SUCCESS)) as connection:
        await connection.create("/binding", b"{}")
    async with served(answering(code, body)) as connection:
        with pytest.raises(errors.UnreachableError, match="unreadable answer"):
            await connection.create("/binding", b"{}")


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"", b"[]", b'"done"'])
async def test_an_answer_is_an_object(body: bytes) -> None:
    """A 200 of something in between is not a write that was done."""
    async with served(answering(200, body)) as connection:
        with pytest.raises(errors.UnreachableError, match="not a JSON object"):
            await connection.request("PATCH", NODES, body=b"{}")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (event("ERROR", kind="Status", code=410, message="too old"), errors.GoneError),
        (event("ERROR", kind="Status", code=500, message="etcd"), errors.UnreachableError),
        (event("RENAMED", **node("a")), errors.UnreachableError),
        (event("ERROR", code="x"), errors.UnreachableError),
        (event("BOOKMARK"), errors.UnreachableError),
        (b"<html>\n", errors.UnreachableError),
    ],
    ids=["too old", "error", "unknown type", "unreadable error", "bookmark of nothing", "no JSON"],
)
async def test_an_event_that_is_no_change_ends_the_watch(line: bytes, error: type[errors.ClusterError]) -> None:
    """An error event is the error that it names; an event that cannot be read is unreachable, never a crash."""
    async with served(streaming(event("ADDED", **node("a")), line)) as connection:
        with pytest.raises(error, match=f"watch {NODES}"):
            await watched(connection)


async def test_a_watch_begins_where_the_server_is_or_was() -> None:
    """A version of the server's future is gone: it is asked about before the watch, which would only be silent."""
    asked: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
        return web.json_response({"code": 504, "message": "Timeout", "details": details}, status=504)

    async with served(handler) as connection:
        with pytest.raises(errors.GoneError, match="Timeout"):
            await watched(connection)
    assert asked == [{"limit": "1", "resourceVersion": "1", "resourceVersionMatch": "NotOlderThan"}]


async def test_a_watch_that_is_left_early_gives_its_connection_up() -> None:
    """The server of a watch that nobody reads any more sees it end."""
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({})
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(event("ADDED", **node("a")))
            while request.transport is not None:
                await asyncio.sleep(0)
        finally:
            ended.set()
        return response

    async with served(handler) as connection, asyncio.timeout(20):
        async with aclosing(connection.watch(NODES, DECODE, "1")) as changes:
            assert (await anext(changes)).resource_version == "1"
        await ended.wait()


async def test_outside_of_a_cluster_a_kubeconfig_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the pod's service account is used, and its absence is said."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(errors.SettingsError, match="service account"):
        await kube.Connection.connect()
