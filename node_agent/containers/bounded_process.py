"""A process of limited time and output, run to its end. Called from threads; used by toolkit.

The agent's container has no writable folder for temporary files, so output comes through pipes.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from allocator import errors

_CHUNK = 65_536
_DEATH_S = 1.0  # after SIGKILL; a process that the driver holds dies later, and is not waited for


class LimitError(errors.MigschedError):
    """The process ran too long or printed too much, and was killed; the words go on from its name."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its status, what it printed, and the beginning of what it wrote to standard error."""

    status: int
    output: bytes
    errors: bytes


def run(command: Sequence[str], *, timeout_s: float, max_bytes: int) -> Ended:
    """Run a command with no input. Of standard error as much as one pipe holds is kept.

    Raises OSError where it cannot be started. Raises LimitError after `timeout_s`, or once it printed more than
    `max_bytes`: then it and all that it started are killed.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + timeout_s
    try:
        output, said = _read(process, deadline, max_bytes)
        return Ended(process.wait(max(deadline - time.monotonic(), 0)), output, said)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise LimitError(f"did not end within {timeout_s:g} s") from error
    finally:
        _end(process)


def _read(process: subprocess.Popen[bytes], deadline: float, max_bytes: int) -> tuple[bytes, bytes]:
    """Both streams to their ends. Raises TimeoutError at the deadline."""
    output, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, output), (process.stderr, said)):
            selector.register(_open(stream), selectors.EVENT_READ, kept)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data is output or len(said) < _CHUNK:
                    key.data.extend(chunk)
            if len(output) > max_bytes:
                raise LimitError(f"printed more than {max_bytes} bytes")
    return bytes(output), bytes(said)


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # it was asked for as a pipe
    return stream


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it is left, unless the driver holds it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_DEATH_S)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
