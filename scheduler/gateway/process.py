"""GatewayProcess: the gateway's process, seen from the service: started, started again when it ends, stopped.

The listening socket stays the service's: clients that come while there is no process wait in its backlog.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process

import msgspec
import structlog

from scheduler.gateway.limits import GatewayLimits
from scheduler.lock.terms import LockTerms

AGAIN_S = 1.0  # before it is started again
STOP_S = 10.0  # for calls in flight
_log = structlog.get_logger("gateway")


class GatewayProcess:
    """One gateway on a listening socket, before the service's private socket."""

    def __init__(
        self,
        listener: socket.socket,
        upstream: str,
        limits: GatewayLimits,
        terms: LockTerms,
        *,
        log_format: str,
        log_level: str,
    ) -> None:
        self._listener = listener
        # -P: imports nothing from the folder that it is started in
        program = [sys.executable, "-P", "-m", "scheduler.gateway.worker", "--listener", str(listener.fileno())]
        made = ["--socket", upstream, "--limits", msgspec.json.encode(limits).decode()]
        made += ["--lock", msgspec.json.encode(terms).decode()]
        self._command = [*program, *made, "--log-format", log_format, "--log-level", log_level]
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Keep one running, until cancelled."""
        while True:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, pass_fds=[self._listener.fileno()]
            )
            code = await self._process.wait()
            _log.error("the gateway ended; it is started again", exit_code=code, again_in_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)

    async def stop(self) -> None:
        """Let calls in flight have their answer, then end it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()
