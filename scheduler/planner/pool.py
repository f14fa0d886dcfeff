"""PlannerPool: the planner's port on a few worker processes, with a bounded queue and a deadline per job.

Made by `service`. A worker is started for the first job that needs one and ends after some idle time, so a service that
gets no jobs pays nothing. All of it happens on the event loop; the work itself is in the workers.
"""

import asyncio
import math
from dataclasses import dataclass

import structlog

from scheduler.fair_queue import FairQueue
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


@dataclass(eq=False)
class _InWork:
    """A question that has a worker: whose it is, since when, and when it ends without an answer."""

    client: str
    began: float
    deadline: float
    timeout: asyncio.Timeout


class PlannerPool:
    """Worker processes that do jobs. `pending` is the number of jobs in work or waiting."""

    def __init__(self, limits: PoolLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.pending = 0
        self._metrics = metrics
        self._queue = FairQueue(limits.workers, limits.queue, self._busy, self._limit_work)
        self._in_work: set[_InWork] = set()
        self._workers = [WorkerProcess(nice=limits.nice, memory_mib=limits.memory_mib) for _ in range(limits.workers)]
        self._free = list(self._workers)  # the last one used is taken first, so that others can grow idle
        self._idle_timers: dict[WorkerProcess, asyncio.TimerHandle] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._last_answer_s = 1.0
        self._closed = False

    async def submit(self, task: Task, make_job: JobFactory, client: str = "") -> bytes:
        """The answer as JSON; see `port.Planner`."""
        self.pending += 1
        task_name = task.__name__  # type: ignore[attr-defined]  # tasks are functions: they travel by name
        result = "cancelled"
        try:
            answer = await self._within_deadline(task, make_job, client)
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

    async def _within_deadline(self, task: Task, make_job: JobFactory, client: str) -> bytes:
        loop = asyncio.get_running_loop()
        arrived, began = loop.time(), None
        deadline = arrived + self.limits.deadline_s
        try:
            async with asyncio.timeout_at(deadline) as timeout:
                await self._queue.enter(client)
                began = loop.time()
                in_work = _InWork(client, began, deadline, timeout)
                self._in_work.add(in_work)
                try:
                    self._limit_work()
                    job = await make_job()
                    left_s = (timeout.when() or deadline) - loop.time()
                    outcome = await self._run(*messages.encode_job(task, job, left_s))
                finally:
                    self._in_work.discard(in_work)
                    self._queue.leave()
                answer = self._answer(messages.decode_outcome(outcome))
        except TimeoutError:
            now = loop.time()
            if began is not None and now < deadline:
                raise PlannerDeadlineError(self.limits.contended_s, began - arrived, others_wait=True) from None
            raise PlannerDeadlineError(self.limits.deadline_s, (began or now) - arrived) from None
        self._last_answer_s = loop.time() - began
        return answer

    def _limit_work(self) -> None:
        """Let no question take more than `contended_s` while another client waits, and all the time otherwise."""
        for in_work in self._in_work:
            ends = in_work.deadline
            if self._queue.others_wait(in_work.client):
                ends = min(ends, in_work.began + self.limits.contended_s)
            if not in_work.timeout.expired():
                in_work.timeout.reschedule(ends)

    def _busy(self, waiting: int) -> BusyError:
        retry_after_s = math.ceil(self._last_answer_s * (waiting + 1) / self.limits.workers)
        return BusyError(waiting, max(1, retry_after_s))

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
