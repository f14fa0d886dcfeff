"""Lane: one thread that makes a GPU's driver calls, one at a time, so that a call that hangs holds up no other GPU.

`NvmlDevices` has one per GPU, one for the library and one for events. The caller waits no longer than his deadline.
A driver call cannot be interrupted: until an overdue one returns, the lane is wedged and refuses further work, so at
most one thread per GPU is ever stuck. What an overdue call brought about after all is undone when it returns.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from node_agent.gpu import device

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Ticket:
    """What a piece of work knows of its caller."""

    abandoned: bool = False

    def check(self) -> None:
        """Stop here if the caller no longer waits. Raises DeadlineExceededError."""
        if self.abandoned:
            raise device.DeadlineExceededError("the caller has given up")


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[Ticket], Any]
    undo: Callable[[Any], None] | None
    ticket: Ticket = field(default_factory=Ticket)
    value: Any = None
    error: BaseException | None = None
    finished: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class Lane:
    """One worker thread, started when first needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._doing = ""
        self._stuck_since: float | None = None

    @property
    def wedged(self) -> bool:
        """An overdue call has not returned yet."""
        return self._stuck_since is not None

    @property
    def busy(self) -> bool:
        """A call has the turn now."""
        return self._turn.locked()

    def run(
        self, what: str, work: Callable[[Ticket], T], deadline_s: float, undo: Callable[[T], None] | None = None
    ) -> T:
        """Do some work in the lane: its result or its error.

        Raises DeadlineExceededError when it is not done `deadline_s` seconds from now, and at once while the lane is
        wedged. `undo` takes back the result of work that ended after its caller had given up.
        """
        until = time.monotonic() + deadline_s
        if not self._turn.acquire(timeout=deadline_s):
            raise device.DeadlineExceededError(f"{self.name}: {what}: no turn in {deadline_s:g} s, busy: {self._doing}")
        try:
            return self._run(what, work, until, undo)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let the thread end when it has nothing left to do."""
        self._jobs.put(None)

    def _run(self, what: str, work: Callable[[Ticket], T], until: float, undo: Callable[[T], None] | None) -> T:
        with self._lock:
            if self._stuck_since is not None:
                stuck_s = time.monotonic() - self._stuck_since
                raise device.DeadlineExceededError(f"{self.name}: {self._doing} is overdue by {stuck_s:.0f} s")
            self._doing = what
            job = _Job(work, undo)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
                self._thread.start()
        self._jobs.put(job)
        job.done.wait(max(0.0, until - time.monotonic()))
        with self._lock:
            if not job.finished:
                job.ticket.abandoned = True
                self._stuck_since = time.monotonic()
                raise device.DeadlineExceededError(f"{self.name}: {what} has not returned in time")
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.value = job.work(job.ticket)
            except BaseException as error:
                job.error = error
            with self._lock:
                job.finished = not job.ticket.abandoned
            if not job.finished:
                self._take_back(job)
                with self._lock:
                    self._stuck_since = None
            job.done.set()

    @staticmethod
    def _take_back(job: _Job) -> None:
        if job.error is None and job.undo is not None:
            try:
                job.undo(job.value)
            except device.DeviceError:
                return  # it stays; the next enumeration shows it
