"""PlannerPool: the planner's port on a few worker processes, with a bounded queue and a deadline per job.

Made by `service`. A worker is started for the first job that needs one and ends after some idle time, so a service that
gets no jobs pays nothing. All of it happens on the event loop; the work itself is in the workers.
"""

import asyncio
import math

import structlog

from scheduler.metrics import Metrics
from scheduler.planner import messages
from scheduler.planner.messages import Chunks, Done, Failed, Outcome, Refused
from scheduler.planner.port import (
    BusyError,
    DocumentError,
    InternalError,
    JobFactory,
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
    """Worker processes that do jobs. `pending` is the number of jobs in work or waiting."""

    def __init__(self, limits: PoolLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.pending = 0
        self._metrics = metrics
        self._slots = asyncio.Semaphore(limits.workers)
        self._workers = [WorkerProcess(nice=limits.nice, memory_mib=limits.memory_mib) for _ in range(limits.workers)]
        self._free = list(self._workers)  # the last one used is taken first, so that others can grow idle
        self._idle_timers: dict[WorkerProcess, asyncio.TimerHandle] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._last_answer_s = 1.0
        self._closed = False

    async def submit(self, task: Task, make_job: JobFactory) -> bytes:
        """The answer as JSON; see `port.Planner`."""
        waiting = self.pending - self.limits.workers
        if waiting >= self.limits.queue:
            retry_after_s = math.ceil(self._last_answer_s * (waiting + 1) / self.limits.workers)
            raise BusyError(waiting, max(1, retry_after_s))
        self.pending += 1
        task_name = task.__name__  # type: ignore[attr-defined]  # tasks are functions: they travel by name
        result = "cancelled"
        try:
            answer = await self._within_deadline(task, make_job)
            result = "answered"
        except PlannerError as error:
            result = type(error).__name__.removesuffix("Error").lower()
            raise
        finally:
            self.pending -= 1
            self._metrics.planner_questions.labels(task_name, result).inc()
        return answer

    def processes(self) -> list[int]:
        """The ids of the worker processes that run."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def close(self) -> None:
        """Kill all workers; jobs in work or waiting end with ShuttingDownError."""
        self._closed = True
        for timer in self._idle_timers.values():
            timer.cancel()
        await asyncio.gather(*self._stopping, *(worker.stop() for worker in self._workers))

    async def _within_deadline(self, task: Task, make_job: JobFactory) -> bytes:
        loop = asyncio.get_running_loop()
        arrived, began = loop.time(), None
        try:
            async with asyncio.timeout(self.limits.deadline_s), self._slots:
                began = loop.time()
                job = await make_job()
                left_s = arrived + self.limits.deadline_s - loop.time()
                outcome = await self._run(*messages.encode_job(task, job, left_s))
                answer = self._answer(messages.decode_outcome(outcome))
        except TimeoutError:
            waited_s = (began or loop.time()) - arrived
            raise PlannerDeadlineError(self.limits.deadline_s, waited_s) from None
        self._last_answer_s = loop.time() - began
        return answer

    async def _run(self, job: Chunks, snapshot: Chunks) -> bytes:
        """The outcome of a job, from a free worker."""
        if self._closed:
            raise ShuttingDownError
        worker = self._free.pop()
        if worker in self._idle_timers:
            self._idle_timers.pop(worker).cancel()
        try:
            return await worker.run(job, snapshot)
        except WorkerCrashedError:
            if self._closed:
                raise ShuttingDownError from None
            raise
        finally:
            self._free.append(worker)
            if not self._closed:
                call_later = asyncio.get_running_loop().call_later
                self._idle_timers[worker] = call_later(self.limits.idle_s, self._stop, worker)

    def _stop(self, worker: WorkerProcess) -> None:
        """End a worker that was idle for long enough."""
        stopping = asyncio.create_task(worker.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _answer(self, outcome: Outcome) -> bytes:
        if isinstance(outcome, Done):
            return outcome.answer
        if isinstance(outcome, Refused):
            raise DocumentError(outcome.field, outcome.shown, outcome.fix)
        if isinstance(outcome, Failed):
            _log.error("planner task failed", trace=outcome.trace)
            raise InternalError("the planner failed; see the log of the migsched scheduler")
        raise TooLargeError(self.limits.memory_mib)
