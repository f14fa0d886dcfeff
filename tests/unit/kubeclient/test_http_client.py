"""Calls of the HTTP client against a server that is scripted byte by byte."""

import asyncio
import ssl
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeclient import http_connection
from kubeclient.http_client import HttpClient
from testbed.control_plane import certificates
from tests.unit.kubeclient.scripted import OK, Caller, always, answering, chunk, get, serving


async def test_a_call_is_what_it_says() -> None:
    """Method, path below the server's own, query, host, headers, length and body go out as given."""
    seen: list[bytes] = []

    async def script(caller: Caller) -> None:
        seen.append(await caller.request())
        await caller.say(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n")

    async with serving(script, path="/clusters/a/") as (client, server):
        answer = await client.call("POST", "/b", {"Accept": "x"}, b"{}", {"q": "1 2"}, timeout_s=10)
    assert (answer.status, answer.body) == (409, b"")
    head = (
        f"POST /clusters/a/b?q=1+2 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: x\r\nContent-Length: 2\r\n\r\n"
    )
    assert seen == [head.encode() + b"{}"]


async def test_a_connection_is_kept_for_the_next_call() -> None:
    """Calls after one another share a connection."""
    async with serving(always(OK)) as (client, server):
        assert [await get(client) for _ in range(3)] == [(200, b"ok")] * 3
        assert server.connections == 1


async def test_no_more_calls_than_allowed_are_in_flight() -> None:
    """Each call in flight has a connection of its own, and one too many waits for the first that is free."""
    arrived, go = asyncio.Semaphore(0), asyncio.Event()

    async def script(caller: Caller) -> None:
        while await caller.request():
            arrived.release()
            await go.wait()
            await caller.say(OK)

    async with serving(script, calls=3) as (client, server):
        calls = asyncio.gather(*(get(client) for _ in range(7)))
        for _ in range(3):
            await arrived.acquire()
        go.set()
        assert await calls == [(200, b"ok")] * 7
        assert server.connections == 3


async def test_an_idle_connection_is_not_kept_for_ever() -> None:
    """A connection that was idle for too long is given up instead of used: something in between may have cut it."""
    async with serving(always(OK), kept_s=0.0) as (client, server):
        await get(client)
        await get(client)
        assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_the_server_closed_is_not_used(method: str) -> None:
    """Where the server hung up between two calls, the second goes out on a connection of its own."""
    closed = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        closed.set()

    async with serving(script) as (client, server):
        assert await get(client, method) == (200, b"")
        await closed.wait()
        assert await get(client, method) == (200, b"")
        assert server.connections == 2


async def test_only_what_changes_nothing_is_said_twice() -> None:
    """A kept connection that dies under a request may have carried it out: a GET is repeated, a POST is not."""
    requests: list[bytes] = []

    async def script(caller: Caller) -> None:
        requests.append((await caller.request())[:4])
        await caller.say(OK)
        if request := await caller.request():
            requests.append(request[:4])  # and hangs up instead of an answer

    async with serving(script) as (client, server):
        await get(client)
        assert await get(client) == (200, b"ok")
        assert (requests, server.connections) == ([b"GET "] * 3, 2)
        with pytest.raises(ConnectionError):
            await get(client, "POST")
        assert (requests[3:], server.connections) == ([b"POST"], 2)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", b"abcd"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["continue", "early hints", "chunked", "empty"],
)
async def test_every_form_of_an_answer_is_read(answer: bytes, body: bytes) -> None:
    """Announcements are skipped, chunks are joined, and the connection is good for the next call."""
    async with serving(always(answer)) as (client, server):
        assert [await get(client), await get(client)] == [(200, body)] * 2
        assert server.connections == 1


@given(
    body=st.binary(max_size=60),
    pieces=st.lists(st.integers(1, 20), max_size=8),
    cuts=st.lists(st.integers(1, 200), max_size=12, unique=True),
    chunked=st.booleans(),
)
def test_an_answer_is_the_same_however_it_is_cut(
    body: bytes, pieces: list[int], cuts: list[int], chunked: bool
) -> None:
    """Neither the chunks of a body nor the segments of the wire show in an answer."""
    answer = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    if chunked:
        ends = [0, *accumulate(pieces)]
        parts = [body[a:b] for a, b in pairwise([*ends, len(body) + ends[-1]])]
        answer = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer += b"".join(chunk(part) for part in parts if part) + b"0\r\n\r\n"
    at = [0, *sorted(one for one in cuts if one < len(answer)), len(answer)]

    async def read() -> tuple[int, bytes, bool]:
        connection = http_connection.HttpConnection()
        connection.send(b"")
        for a, b in pairwise(at):
            assert not connection.reusable
            connection.data_received(answer[a:b])
        return await connection.head(), await connection.answer(), connection.reusable

    assert asyncio.run(read()) == (201, body, True)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "closed the connection"),
        (b"220 smtp.example.com\r\n\r\n", "unreadable answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "unreadable answer"),
    ],
    ids=["nothing", "short", "cut chunk", "another protocol", "bad length"],
)
async def test_half_an_answer_is_none(answer: bytes, why: str) -> None:
    """An answer that breaks off or is no HTTP is a connection error, never a shorter body."""
    async with serving(answering(answer)) as (client, _):
        with pytest.raises(ConnectionError, match=why):
            await get(client, "POST")


async def test_an_answer_to_nothing_ends_the_connection() -> None:
    """A server that speaks without being asked is not trusted with another call on that connection."""
    said = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.say(OK)
        if not said.is_set():
            await caller.say(OK)
            await caller.hung_up()
            said.set()
        await caller.request()

    async with serving(script) as (client, server):
        assert await get(client) == (200, b"ok")
        await said.wait()
        assert await get(client) == (200, b"ok")
        assert server.connections == 2


async def test_a_call_has_its_time() -> None:
    """A call without an answer ends as a timeout that says how long it waited, and its connection is given up."""
    gone = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.hung_up()
        gone.set()

    async with serving(script) as (client, _):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            await get(client, timeout_s=0.01)
        await gone.wait()


async def test_a_cancelled_call_gives_its_connection_up() -> None:
    """Nobody reads the answer of a call that was cancelled: its connection is not used again."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        arrived.set()
        await caller.hung_up()
        gone.set()

    async with serving(script) as (client, _):
        call = asyncio.create_task(get(client))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gone.wait()


async def test_a_server_that_never_shakes_hands_is_given_up() -> None:
    """A connection that is accepted and then leads to nothing ends as a timeout that names the server."""

    async def script(caller: Caller) -> None:
        await caller.hung_up()

    async with serving(script) as (_, server):
        client = HttpClient(f"https://127.0.0.1:{server.port}", ssl.create_default_context, calls=1, connect_s=0.05)
        with pytest.raises(TimeoutError, match=rf"no connection to 127\.0\.0\.1:{server.port} within 0\.05 s"):
            await get(client)
        await client.close()


@pytest.mark.parametrize(("path", "value"), [("/x\r\nA: b", "y"), ("/x", "y\nA: b"), ("/x", "y\r")])
async def test_a_line_break_is_not_sent(path: str, value: str) -> None:
    """What would smuggle a header or a second call into a request is refused before anything is sent."""
    async with serving(always(OK)) as (client, server):
        with pytest.raises(ConnectionError, match="line break"):
            await client.call("GET", path, {"Authorization": value}, timeout_s=10)
        assert server.connections == 0


async def test_closing_ends_what_is_in_flight() -> None:
    """A client that is closed leaves no call waiting and no connection open."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        arrived.set()
        await caller.hung_up()
        gone.set()

    async with serving(script) as (client, _):
        call = asyncio.create_task(get(client))
        await arrived.wait()
        await client.close()
        with pytest.raises(ConnectionError):
            await call
        await gone.wait()


async def test_over_tls_the_server_must_be_who_it_says(tmp_path: Path) -> None:
    """Calls and streams work over TLS with a trusted authority, and nothing is said to a server without one."""
    made = certificates.ensure(tmp_path)
    serving_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving_context.load_cert_chain(made.serving, made.serving_key)
    async with serving(always(OK), tls=serving_context) as (_, server):
        trusting = ssl.create_default_context(cafile=str(made.authority))
        client = HttpClient(f"https://127.0.0.1:{server.port}", lambda: trusting, calls=2)
        assert [await get(client) for _ in range(2)] == [(200, b"ok")] * 2
        async with client.stream("/x", {}, silence_s=10) as stream:
            assert await stream.read() == b"ok"
        assert server.connections == 2
        await client.close()
        stranger = HttpClient(f"https://127.0.0.1:{server.port}", ssl.create_default_context, calls=2)
        with pytest.raises(ssl.SSLCertVerificationError):
            await get(stranger)
        await stranger.close()


async def test_the_certificate_may_have_to_bear_another_name(tmp_path: Path) -> None:
    """A server name instead of the URL's host is what the server is asked for and what its certificate must bear."""
    made = certificates.ensure(tmp_path)
    asked_for: list[str | None] = []
    serving_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving_context.load_cert_chain(made.serving, made.serving_key)
    serving_context.sni_callback = lambda _, name, __: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=str(made.authority))
    async with serving(always(OK), tls=serving_context) as (_, server):
        for name in ("kubernetes.default", "elsewhere"):
            client = HttpClient(f"https://127.0.0.1:{server.port}", lambda: trusting, calls=1, server_name=name)
            if name == "elsewhere":
                with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
                    await get(client)
            else:
                assert await get(client) == (200, b"ok")
            await client.close()
    assert asked_for == ["kubernetes.default", "elsewhere"]


async def test_a_connection_made_with_old_certificates_is_not_used_again(tmp_path: Path) -> None:
    """When the TLS context is another one, idle connections made with the old one are given up."""
    made = certificates.ensure(tmp_path)
    serving_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving_context.load_cert_chain(made.serving, made.serving_key)
    contexts = [ssl.create_default_context(cafile=str(made.authority)) for _ in range(2)]
    async with serving(always(OK), tls=serving_context) as (_, server):
        client = HttpClient(f"https://127.0.0.1:{server.port}", lambda: contexts[0], calls=1)
        for _ in range(2):
            await get(client)
        assert server.connections == 1
        contexts.pop(0)
        await get(client)
        assert server.connections == 2
        await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 500) * 4,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500,
    ],
    ids=["length", "chunks", "head"],
)
async def test_an_answer_that_is_too_large_is_given_up(answer: bytes) -> None:
    """However an answer grows, it is held up to a limit only, and the error names the limit."""
    async with serving(always(answer), max_answer=1000) as (client, _):
        with pytest.raises(ConnectionError, match="the answer is larger than 1,000 bytes"):
            await get(client)
    async with serving(always(OK), max_answer=1000) as (client, _):
        assert [await get(client) for _ in range(30)] == [(200, b"ok")] * 30


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 no\r\n\r\n"]
)
async def test_an_answer_that_is_no_answer_is_a_lost_connection(answer: bytes) -> None:
    """Each kind of error of the parser, a change of protocol included, ends the call as a lost connection does."""
    async with serving(always(answer)) as (client, _):
        with pytest.raises(ConnectionError, match="unreadable answer"):
            await get(client)
