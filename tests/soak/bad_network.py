"""BadNetwork: a proxy on loopback between the services and the API server that cuts, stalls and slows connections."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Self

CHUNK = 64 * 1024


class BadNetwork:
    """Forwards TCP from a port of its own to the API server's. TLS goes through untouched.

    It is in order until told otherwise. Methods may be called from any thread.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._delay_s = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._passing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bad network", daemon=True)
        self.cuts = 0
        self.stalls = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Abort every connection there is."""
        self.cuts += 1
        self._loop.call_soon_threadsafe(self._abort)

    def stall(self) -> None:
        """Let nothing pass until `resume`; connections stay open, and new ones are accepted."""
        self.stalls += 1
        self._loop.call_soon_threadsafe(self._passing.clear)

    def resume(self) -> None:
        """In order again: nothing is held or slowed."""
        self._delay_s = 0.0
        self._loop.call_soon_threadsafe(self._passing.set)

    def slow(self, delay_s: float) -> None:
        """Hold each chunk for some seconds."""
        self._delay_s = delay_s

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        ends = [writer]
        self._open.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            ends.append(back)
            self._open.add(back)
            await asyncio.gather(self._forward(reader, back), self._forward(there, writer))
        except OSError:
            pass  # the API server is away, or one side is: the other side learns it by the end of its connection
        finally:
            for end in ends:
                self._open.discard(end)
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._passing.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
