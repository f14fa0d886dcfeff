"""Clients of the API that mean harm, in small: meanwhile the extender answers, and the API is alive and ready.

The API is served as in production, by a process of its own. `migsched bench crowd` does the same at full size.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from scheduler.gateway import limits
from tests.integration.api import running_service
from tests.integration.api.running_service import RunningService
from tests.waiting import eventually

CONNECTIONS, CALLS = 32, 16  # a quarter of them for one address
OF_ONE = CONNECTIONS // 4
ATTACKER = "127.0.0.2"
MIB = 2**20
POD = {
    "metadata": {"name": "asks", "namespace": "default", "uid": "uid-asks"},
    "spec": {"containers": [{"name": "c0", "image": "none", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}]},
}
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[RunningService]:
    """The service with the gateway in front, for few clients."""
    async with running_service.running(apart=True, api_connections=CONNECTIONS, api_calls=CALLS) as running:
        assert (await running.client.get("/readyz")).status_code == 200
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


def address(running: RunningService) -> tuple[str, int]:
    """Where the API listens."""
    host, _, port = running.service.api_url.removeprefix("http://").rpartition(":")
    return host, int(port)


@asynccontextmanager
async def attacking(
    running: RunningService, number: int, sent: bytes, source: str = ATTACKER
) -> AsyncIterator[list[Stream]]:
    """So many connections of one address, each with this sent as far as the server takes it."""
    streams = [
        await asyncio.open_connection(*address(running), local_addr=(source, 0), limit=MIB) for _ in range(number)
    ]
    for _, writer in streams:
        writer.write(sent)
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.transport.abort()


async def all_is_well(running: RunningService) -> None:
    """The extender decides, the service is alive and ready, and the API answers another client."""
    body = msgspec.json.encode({"Pod": POD, "NodeNames": ["gpu-1", "gpu-2"]})
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        filtered = await client.post(f"{running.service.extender_url}/v1/filter", content=body)
        assert filtered.json()["NodeNames"], filtered.text
        for path in ("/livez", "/readyz", "/metrics", "/api/v1/nodes"):
            assert (await client.get(f"{running.service.api_url}{path}")).status_code == 200, path


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


async def statuses(streams: list[Stream]) -> list[int]:
    """The status that each connection was answered with, 0 for those that were only closed."""
    return [await status(reader) for reader, _ in streams]


async def status(reader: asyncio.StreamReader) -> int:
    """The status of one answer."""
    try:
        line = await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return 0
    return int(line.split()[1]) if line else 0


async def test_half_sent_heads_leave_room(served: RunningService) -> None:
    """Silent connections of one address are closed beyond its share, the oldest first, and others are answered."""
    async with attacking(served, 100, b"GET /api/v1/nodes HTTP/1.1\r\nHost: x") as streams:
        await all_is_well(served)
        assert await statuses(streams[: 100 - OF_ONE]) == [0] * (100 - OF_ONE)
        assert not any(reader.at_eof() for reader, _ in streams[100 - OF_ONE :])


async def test_unfinished_bodies_take_few_places(served: RunningService) -> None:
    """Bodies that never end take one address's share of the calls; further ones are 503 with Retry-After."""
    head = (
        b"POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    async with attacking(served, OF_ONE, head % MIB + b" " * (MIB - 1)) as streams:
        refused = streams[CALLS // 4 :]
        assert await statuses(refused) == [503] * len(refused)
        head_of_answer = await refused[0][0].readuntil(b"\r\n\r\n")
        assert b"retry-after: 1" in head_of_answer.lower()
        await all_is_well(served)


async def test_a_header_without_end_is_cut_off(served: RunningService) -> None:
    """A head of more than 64 KiB is refused, however much its client would send, and nothing of it is kept."""
    pid = served.service.servers.gateway_pid
    assert pid is not None
    before = memory_mib(pid)
    endless = b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 8 * MIB
    async with attacking(served, 4, endless) as streams:
        assert set(await statuses(streams)) <= {0, 400}
        await all_is_well(served)
    assert memory_mib(pid) - before < 32


async def test_a_crowd_that_asks_for_all_nodes_is_answered_or_told_to_come_back(served: RunningService) -> None:
    """Many clients at once get the same answer, or 503; meanwhile a filter call is decided."""
    request = b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n"
    asked = request * 20
    async with (
        attacking(served, OF_ONE, asked, "127.0.0.3") as one,
        attacking(served, OF_ONE, asked, "127.0.0.4") as other,
    ):
        await all_is_well(served)
        assert set(await statuses([*one, *other])) <= {200, 503}


async def test_a_large_document_is_refused_by_its_length(served: RunningService) -> None:
    """A document of 29 MB gets 413 before it is sent, and no planner is started for it."""
    head = (
        b"POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    async with attacking(served, 1, head % (29 * MIB)) as streams:
        assert await statuses(streams) == [413]
        await all_is_well(served)
    assert served.service.planner.processes() == []


async def test_a_gateway_that_dies_is_started_again(served: RunningService) -> None:
    """Its end is nothing to the extender; clients that come meanwhile wait and are answered by the next one."""
    pid = served.service.servers.gateway_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: served.service.servers.gateway_pid not in (pid, None), "another one is started")
    await all_is_well(served)


async def test_a_client_that_sends_nothing_is_not_waited_for() -> None:
    """The times are those of the documentation: 10 s for a head, 30 s for a body."""
    shipped = limits.GatewayLimits()
    assert (shipped.of_connections().head_s, shipped.body_s) == (10.0, 30.0)
    assert shipped.of_connections().head_bytes == 64 * 2**10
