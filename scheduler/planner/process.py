"""One worker process, seen from the service: started with the first job, killed with a cancelled one. Of `pool`.

A program of its own, not a fork: the service's memory and its event loop stay out of it, and it starts without the
service's threads and sockets.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

from scheduler.planner import messages
from scheduler.planner.messages import Chunks
from scheduler.planner.port import WorkerCrashedError

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # else numpy reserves memory for every processor


class WorkerProcess:
    """A place for one job at a time."""

    def __init__(self, *, nice: int, memory_mib: int) -> None:
        # -P: imports nothing from the folder that it is started in
        program = [sys.executable, "-P", "-m", "scheduler.planner.worker"]
        self._command = [*program, "--nice", str(nice), "--memory-mib", str(memory_mib)]
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is no process."""
        return self._process.pid if self._process is not None else None

    async def run(self, job: Chunks, snapshot: Chunks) -> bytes:
        """Send a job's two messages and receive its outcome. Raises WorkerCrashedError; to cancel is to kill."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, env={**os.environ, **_ONE_THREAD}
            )
        try:
            await _send(self._process, job)
            await _send(self._process, snapshot)
            return await _receive(self._process)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerCrashedError(f"the planner {await self._end()} before it had the answer; ask again") from error
        except BaseException:
            await self._end()
            raise

    async def stop(self) -> None:
        """Kill the process, if there is one; the next job starts another."""
        await self._end()

    async def _end(self) -> str:
        """Kill the process and say how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "was stopped"
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            # not Process.kill: that looks how the process ended, and asyncio would never learn it
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        code = await process.wait()
        return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended (exit code {code})"


async def _send(process: Process, chunks: Chunks) -> None:
    """Send one message; the event loop goes on between two chunks that the pipe has no room for."""
    assert process.stdin is not None  # started with a pipe
    process.stdin.write(messages.length_prefix(*chunks))
    for chunk in chunks:
        process.stdin.write(chunk)
        await process.stdin.drain()


async def _receive(process: Process) -> bytes:
    """Receive one message."""
    assert process.stdout is not None  # started with a pipe
    prefix = await process.stdout.readexactly(messages.LENGTH_BYTES)
    return await process.stdout.readexactly(int.from_bytes(prefix, "big"))
