"""PlannerPool: the planner's port on a few worker processes, with a bounded queue and a deadline per question.

Made by `service`. A worker is started for the first question that needs one and ends after some idle time, so a
service that nobody asks pays nothing. All of it happens on the event loop; the work itself is in the workers.
"""

import asyncio
import math

import structlog

from scheduler.metrics import Metrics
from scheduler.planner import messages
from scheduler.planner.messages import Blocks, Done, Failed, Outcome, Refused
from scheduler.planner.port import (
    Asking,
    BusyError,
    DocumentError,
    InternalError,
    PlannerDeadlineError,
    PlannerError,
    PoolLimits,
    ShuttingDownError,
    Task,
    TooLargeError,
    WorkerCrashedError,
)
from scheduler.planner.process import WorkerProcess

_log = structlog.get_logger("planner")


class PlannerPool:
    """Worker processes that answer questions. `pending` is the number of questions in work or waiting."""

    def __init__(self, limits: PoolLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.pending = 0
        self._metrics = metrics
        self._slots = asyncio.Semaphore(limits.workers)
        self._workers = [WorkerProcess(nice=limits.nice, memory_mib=limits.memory_mib) for _ in range(limits.workers)]
        self._free = list(self._workers)  # the last one used is taken first, so that others can grow idle
        self._idle: dict[WorkerProcess, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._last_s = 1.0  # how long the last answer took
        self._closed = False

    async def ask(self, task: Task, question: Asking) -> bytes:
        """The answer as JSON; see `port.Planner`."""
        waiting = self.pending - self.limits.workers
        if waiting >= self.limits.queue:
            raise BusyError(waiting, max(1, math.ceil(self._last_s * (waiting + 1) / self.limits.workers)))
        self.pending += 1
        name = task.__name__  # type: ignore[attr-defined]  # tasks are functions: they travel by name
        outcome = "cancelled"
        try:
            answer = await self._within_deadline(task, question)
            outcome = "answered"
        except PlannerError as error:
            outcome = type(error).__name__.removesuffix("Error").lower()
            raise
        finally:
            self.pending -= 1
            self._metrics.planner_questions.labels(name, outcome).inc()
        return answer

    def processes(self) -> list[int]:
        """The ids of the worker processes that there are."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def close(self) -> None:
        """Kill all workers; who still waits gets ShuttingDownError."""
        self._closed = True
        for timer in self._idle.values():
            timer.cancel()
        await asyncio.gather(*self._ending, *(worker.stop() for worker in self._workers))

    async def _within_deadline(self, task: Task, question: Asking) -> bytes:
        loop = asyncio.get_running_loop()
        arrived, began = loop.time(), None
        try:
            async with asyncio.timeout(self.limits.deadline_s), self._slots:
                began = loop.time()
                asked = await question()
                left_s = arrived + self.limits.deadline_s - loop.time()
                outcome = await self._run(*messages.encode_job(task, asked, left_s))
                answer = self._answer(messages.decode_outcome(outcome))
        except TimeoutError:
            waited_s = (began or loop.time()) - arrived
            raise PlannerDeadlineError(self.limits.deadline_s, waited_s) from None
        self._last_s = loop.time() - began
        return answer

    async def _run(self, *parts: Blocks) -> bytes:
        """A job to a free worker and its outcome."""
        if self._closed:
            raise ShuttingDownError
        worker = self._free.pop()
        if worker in self._idle:
            self._idle.pop(worker).cancel()
        try:
            return await worker.run(*parts)
        except WorkerCrashedError:
            if self._closed:
                raise ShuttingDownError from None
            raise
        finally:
            self._free.append(worker)
            if not self._closed:
                later = asyncio.get_running_loop().call_later
                self._idle[worker] = later(self.limits.idle_s, self._retire, worker)

    def _retire(self, worker: WorkerProcess) -> None:
        """End a worker that nobody needed for a while."""
        ending = asyncio.create_task(worker.stop())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _answer(self, outcome: Outcome) -> bytes:
        if isinstance(outcome, Done):
            return outcome.answer
        if isinstance(outcome, Refused):
            raise DocumentError(outcome.field, outcome.shown, outcome.fix)
        if isinstance(outcome, Failed):
            _log.error("planner task failed", trace=outcome.trace)
            raise InternalError("the planner failed; see the log of the migsched scheduler")
        raise TooLargeError(self.limits.memory_mib)
