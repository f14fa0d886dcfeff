"""Streams through the guard: few at a time, apart from calls, and none for a client that does not listen."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from scheduler.gateway.guard import ACTION_HEADER, Guard
from scheduler.gateway.limits import GatewayLimits
from scheduler.lock import routes
from tests.waiting import eventually

LIMITS = GatewayLimits(calls=4, streams=8, send_s=0.05)


class Telling:
    """An application that tells something again and again, until nobody listens."""

    def __init__(self) -> None:
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell."""
        del receive
        self.open += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while scope["path"] == routes.CHANGES:
                await send({"type": "http.response.body", "body": b": \n\n", "more_body": True})
                await asyncio.sleep(0)
        finally:
            self.open -= 1


class Client:
    """One client; `takes` says how many parts it takes."""

    def __init__(self, address: str = "10.0.0.1", takes: int = 1_000_000) -> None:
        self.sent: list[Message] = []
        self._address = address
        self._takes = takes

    async def ask(self, guard: Guard, method: str = "GET", path: str = routes.CHANGES, **headers: str) -> int | None:
        """Listen until it ends; the status, None without an answer."""
        given = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
        scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "client": (self._address, 1)}
        await guard(scope | {"headers": given}, self._receive, self._send)
        return self.status

    @property
    def status(self) -> int | None:
        """The answer's status."""
        return self.sent[0]["status"] if self.sent else None

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def _send(self, message: Message) -> None:
        if len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)


async def test_there_are_few_of_one_client_and_few_of_all() -> None:
    """A client has a quarter of the streams, and beyond the bound of all a newcomer gets 503 and Retry-After."""
    guard = Guard(Telling(), LIMITS)
    listening = [asyncio.create_task(Client().ask(guard)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await Client().ask(guard) == 503
    others = [asyncio.create_task(Client(f"10.0.1.{number}").ask(guard)) for number in range(6)]
    await asyncio.sleep(0)
    refused = Client("10.0.2.1")
    assert await refused.ask(guard) == 503
    assert (b"retry-after", b"5") in refused.sent[0]["headers"]
    assert guard.in_flight == 0, "streams take no places of calls"
    for task in (*listening, *others):
        task.cancel()
    await asyncio.gather(*listening, *others, return_exceptions=True)
    again = asyncio.create_task(Client().ask(guard))
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


async def test_a_client_that_does_not_take_a_part_is_dropped_and_a_slow_stream_is_not() -> None:
    """The time is of one part: a stream goes on for longer than it, and ends for one who stops listening."""
    telling = Telling()
    guard = Guard(telling, LIMITS)
    listens = Client("10.0.0.2")
    going = asyncio.create_task(listens.ask(guard))
    await Client(takes=3).ask(guard)
    parts = len(listens.sent)
    await eventually(lambda: len(listens.sent) > parts + 20, "the other one goes on")
    assert telling.open == 1
    going.cancel()


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 403), ({ACTION_HEADER: "1"}, 200), ({"authorization": "Bearer x"}, 200), ({"authorization": "Basic x"}, 403)],
)
@pytest.mark.parametrize("path", ["/api/v1/repacks", "/api/v1/repacks/for-1/approval"])
async def test_an_action_takes_a_header_that_no_form_sends(headers: dict[str, str], status: int, path: str) -> None:
    """What changes the cluster needs a word of its own or a bearer token, with a lock and without one."""
    assert await Client().ask(Guard(Telling(), LIMITS), "POST", path, **headers) == status
