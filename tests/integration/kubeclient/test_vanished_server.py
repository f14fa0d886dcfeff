"""A server that is gone without a word, on the event loop of each service: the kernel's probes take seconds."""

import asyncio
import ctypes
import socket
import struct
import time
from collections.abc import Callable

import pytest
import uvloop

from tests.unit.kubeclient.scripted import HEAD, Caller, chunk, serving


def _take_off_the_network(connection: Caller) -> None:
    """Drop whatever comes in on a connection, acknowledgements too, as if its host were gone (a filter of one line)."""
    returns_nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(returns_nothing))
    so_attach_filter = 26  # not among the constants of Python's socket module
    connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, so_attach_filter, program)


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_server_that_vanished_is_noticed(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A stream whose server answers no probe of the kernel ends long before its silence counts."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_vanish())


async def _vanish() -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.say(HEAD + chunk(b"a"))
        _take_off_the_network(caller)
        await asyncio.Event().wait()

    async with serving(script, dead_s=3.0) as (client, _), client.stream("/x", {}, silence_s=600) as stream:
        parts = aiter(stream)
        assert await anext(parts) == b"a"
        began = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            await anext(parts)
        assert time.monotonic() - began < 12
