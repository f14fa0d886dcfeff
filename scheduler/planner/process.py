"""One worker process, seen from the service: started with the first job, killed with a job that is given up. Of `pool`.

A program of its own, not a fork: the service's memory and its event loop stay out of it, and it starts without the
service's threads and sockets.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable

from scheduler.planner import messages
from scheduler.planner.messages import Blocks
from scheduler.planner.port import WorkerCrashedError

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # else numpy reserves memory for every processor


class WorkerProcess:
    """A place for one job at a time."""

    def __init__(self, *, nice: int, memory_mib: int) -> None:
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "scheduler.planner.worker",
        ]  # -P: nothing from the folder it happens to be in
        self._command += ["--nice", str(nice), "--memory-mib", str(memory_mib)]
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def run(self, *parts: Blocks) -> bytes:
        """A job to the process and its outcome. Raises WorkerCrashedError; given up by cancelling, which kills it."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, env={**os.environ, **_ONE_THREAD}
            )
        try:
            return await self._exchange(self._process, parts)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerCrashedError(f"the planner {await self._end()} before it had the answer; ask again") from error
        except BaseException:
            await self._end()
            raise

    async def stop(self) -> None:
        """Kill the process, if there is one; the next job starts another."""
        await self._end()

    async def _exchange(self, process: Process, parts: Iterable[Blocks]) -> bytes:
        assert process.stdin is not None  # both are pipes, see above
        assert process.stdout is not None
        for message in parts:
            process.stdin.write(messages.head(*message))
            for block in message:
                process.stdin.write(block)
                await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(messages.HEAD), "big")
        return await process.stdout.readexactly(length)

    async def _end(self) -> str:
        """Kill the process and say how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "was stopped"
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(
                    process.pid, signal.SIGKILL
                )  # Process.kill would look how it ended, and asyncio would never know
        code = await process.wait()
        return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended (exit code {code})"
