"""Programs run as children that never outlive us. Called by `control_plane`.

Each child leads its own session and process group, so Ctrl-C in a terminal reaches only us and we end the children
in order; each has one log file and one pid file. Two things keep them from being left over when this process dies
without a word:

- *Lifeline*: every child inherits the reading end of a pipe, named by the variable MIGSCHED_LIFELINE_FD, whose writing
  end only this process holds. The kernel closes it whatever we die of, and a child that reads end-of-file leaves
  (`go/lifeline.go`). PR_SET_PDEATHSIG is no substitute: it fires when the thread that started the child ends, and it
  needs code between fork and exec, which is unsafe in a process with threads.
- *Pid files*: the next supervisor in the same directory ends what they name, if it still is that very process.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from testbed import errors, process_identity

LIFELINE_VARIABLE = "MIGSCHED_LIFELINE_FD"

_STOP_S = 10.0  # between SIGTERM and SIGKILL
_KILL_S = 10.0  # the kernel's own time to end a killed process


class Process:
    """One supervised program. Made by `Supervisor.start`; safe to use from any thread, one thread at a time."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, lifeline: int
    ) -> None:
        self.name = name
        self.arguments = tuple(arguments)
        self.log = directory / "logs" / f"{name}.log"
        self._environment = dict(environment)
        self._pid_file = directory / "pids" / f"{name}.pid"
        self._lifeline = lifeline
        self._log_offset = 0
        self._child = self._spawn()

    @property
    def pid(self) -> int:
        """Process id, and process group id, of the program as last started."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return not self._ended_within(0)

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return None if self.running else self._child.wait()

    def wait(self, timeout_s: float) -> int:
        """Wait for the program to end by itself and return its exit status.

        Raises StartError where it still runs after `timeout_s`.
        """
        if not self._ended_within(timeout_s):
            raise errors.StartError(self.describe(f"still runs after {timeout_s:g} s"))
        return self._finish()

    def stop(self, timeout_s: float = _STOP_S) -> int:
        """SIGTERM to the process group, SIGKILL after `timeout_s`; return the exit status. Idempotent."""
        self.terminate()
        if not self._ended_within(timeout_s):
            return self.kill()
        return self._finish()

    def terminate(self) -> None:
        """SIGTERM to the process group, without waiting."""
        self._signal(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL to the process group, as a crash would; return the exit status. Idempotent."""
        self._signal(signal.SIGKILL)
        if not self._ended_within(_KILL_S):
            raise errors.StartError(self.describe(f"survived SIGKILL for {_KILL_S:g} s (stuck in the kernel?)"))
        return self._finish()

    def restart(self) -> None:
        """Stop the program if it runs and start it again with the same arguments; the log goes on."""
        self.stop()
        self._child = self._spawn()

    def describe(self, problem: str) -> str:
        """Return "NAME PROBLEM", with the log's path and the last lines written since the last start."""
        return errors.with_log(f"{self.name} {problem}", self.log, offset=self._log_offset)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_offset = log.tell()
            try:
                child = subprocess.Popen(
                    self.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment, LIFELINE_VARIABLE: str(self._lifeline)},
                    pass_fds=(self._lifeline,),
                    start_new_session=True,
                )
            except OSError as error:
                raise errors.StartError(f"{self.name}: cannot run {self.arguments[0]}: {error.strerror}") from error
        process_identity.write(self._pid_file, child.pid)
        return child

    def _signal(self, number: signal.Signals) -> None:
        if self._child.returncode is None:  # not reaped: the group's id cannot have passed to another process
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    def _ended_within(self, timeout_s: float) -> bool:
        """Whether the program ends within `timeout_s`. It stays a zombie: only `_finish` reaps it."""
        if self._child.returncode is not None:
            return True
        descriptor = os.pidfd_open(self._child.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)

    def _finish(self) -> int:
        self._signal(signal.SIGKILL)  # children that it left in its group, before its id is given up
        status = self._child.wait()
        self._pid_file.unlink(missing_ok=True)
        return status


class Supervisor:
    """Starts programs in one directory (`logs/`, `pids/`) and ends them all, last started first."""

    def __init__(self, directory: Path) -> None:
        """Take `directory` for this supervisor and end what a dead one left there.

        Raises StartError where another supervisor, alive, holds the directory.
        """
        self.directory = directory
        self._lock = _lock(directory)
        process_identity.end_leftovers(directory / "pids")
        self._lifeline, self._lifeline_end = os.pipe()
        self._processes: list[Process] = []

    @property
    def processes(self) -> tuple[Process, ...]:
        """Every process started, in order, ended ones included."""
        return tuple(self._processes)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a program under a name of its own; `environment` is added to ours.

        Raises StartError where the name is taken by a running process, or the program cannot be run.
        """
        for process_ in self._processes:
            if process_.name == name and process_.running:
                raise errors.StartError(f"{name} runs already (pid {process_.pid})")
        process = Process(name, arguments, environment or {}, self.directory, self._lifeline)
        self._processes = [process_ for process_ in self._processes if process_.name != name] + [process]
        return process

    def stop(self) -> None:
        """End every process, last started first, and give the directory free. Idempotent."""
        if self._lock.closed:
            return
        try:
            for process in reversed(self._processes):
                process.stop()
        finally:
            os.close(self._lifeline_end)  # whatever could not be stopped reads end-of-file
            os.close(self._lifeline)
            self._lock.close()


def _lock(directory: Path) -> IO[str]:
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "lock").open("a", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise errors.StartError(f"{directory} is in use by another running control plane; choose another") from error
    return lock
