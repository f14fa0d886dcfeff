"""The planner's pool beside `anyio.to_process`, the library that could replace it (docs/adr/0011).

Run by hand, `python -m benchmarks.worker_pools`, when that decision is looked at again; not a part of
`migsched bench all`. Rounds of both alternate in one process, each on a uvloop of its own, so the figures are of one
run on one machine. A gap is the most processor time that the event loop's thread took between two turns of another
task: so long would the extender have waited.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio.to_process
import msgspec
import uvloop

from benchmarks.servers import service_process
from scheduler.metrics import Metrics
from scheduler.planner import messages, worker
from scheduler.planner.messages import Done
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import DocumentError, JobContext, PlannerJob, PoolLimits, Task

LIMITS = PoolLimits(nice=0, memory_mib=2048)  # of normal priority: the way to a worker is compared, not the niceness
LARGE_BYTES = 20_000_000
CHUNK_BYTES = 2**16
_BLANKS = b" " * LARGE_BYTES  # refused as soon as they are read, so the way there is measured
SNAPSHOT = tuple(_BLANKS[start : start + CHUNK_BYTES] for start in range(0, LARGE_BYTES, CHUNK_BYTES))
CANCELLED = 10
_BEAT_S = 0.001
_START_S = 0.1  # a worker has begun to start, and is not ready yet

Submit = Callable[[Task, PlannerJob], Awaitable[bytes]]
Figures = defaultdict[str, list[float]]


def small(document: Any, terms: JobContext) -> Mapping[str, Any]:  # noqa: ARG001  # the port's signature
    """A job without work: which process answers."""
    return {"pid": os.getpid()}


def large(document: Any, terms: JobContext) -> Mapping[str, Any]:  # noqa: ARG001  # the port's signature
    """A large answer."""
    return {"text": "x" * LARGE_BYTES}


def perform(message: bytes, snapshot: Sequence[bytes]) -> bytes:
    """A job in a worker of anyio's."""
    return messages.encode_outcome(worker.perform(message, b"".join(snapshot)))


async def submit_to_anyio(task: Task, job: PlannerJob) -> bytes:
    """The answer by way of anyio."""
    (message,), snapshot = messages.encode_job(task, job, LIMITS.deadline_s)
    answered = await anyio.to_process.run_sync(perform, message, tuple(snapshot), cancellable=True)
    outcome = messages.decode_outcome(answered)
    if isinstance(outcome, Done):
        return outcome.answer
    raise DocumentError("snapshot", "", str(outcome))


def submit_to(pool: PlannerPool) -> Submit:
    """The answer by way of a pool."""

    async def submit(task: Task, job: PlannerJob) -> bytes:
        async def make_job() -> PlannerJob:
            return job

        return await pool.submit(task, make_job)

    return submit


def compare(rounds: int, warm: int) -> None:
    """Print each figure's median and greatest value for both."""
    figures: dict[str, Figures] = {"migsched": defaultdict(list), "anyio": defaultdict(list)}
    for number in range(rounds):
        for name in sorted(figures, reverse=number % 2 == 0):
            uvloop.run(_round(name, warm, figures[name]))
    print(f"{'median (greatest)':28}" + "".join(f"{name:>20}" for name in figures))  # noqa: T201  # its output
    for figure in figures["migsched"]:
        columns = [values[figure] for values in figures.values()]
        cells = (f"{statistics.median(column):.2f} ({max(column):.2f})" for column in columns)
        print(f"{figure:28}" + "".join(f"{cell:>20}" for cell in cells))  # noqa: T201


async def _round(name: str, warm: int, figures: Figures) -> None:
    pool = PlannerPool(LIMITS, Metrics())
    submit = submit_to(pool) if name == "migsched" else submit_to_anyio
    figures["processes left behind"].append(await _left_behind(submit))
    with _timed(figures["first job, s"]):
        pid = msgspec.json.decode(await submit(small, PlannerJob(b"")))["pid"]
    figures["start of a worker, CPU s"].append(service_process.cpu_seconds(pid))
    for _ in range(warm):
        with _timed(figures["next job, ms"], 1e3):
            await submit(small, PlannerJob(b""))
    async with _gap(figures["20 MB snapshot, gap ms"]):
        with _timed(figures["20 MB snapshot, ms"], 1e3), contextlib.suppress(DocumentError):
            await submit(small, PlannerJob(b"", snapshot=SNAPSHOT))
    async with _gap(figures["20 MB answer, gap ms"]):
        with _timed(figures["20 MB answer, ms"], 1e3):
            await submit(large, PlannerJob(b""))
    figures["idle worker after it, MiB"].append(_resident_mib(pid))
    await pool.close()


async def _left_behind(submit: Submit) -> int:
    """How many more processes run after jobs whose clients went away while a worker started."""
    before = _children()
    for _ in range(CANCELLED):
        job = asyncio.ensure_future(submit(small, PlannerJob(b"")))
        await asyncio.sleep(_START_S)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    await asyncio.sleep(1)
    return len(_children() - before)


@contextmanager
def _timed(values: list[float], scale: float = 1.0) -> Iterator[None]:
    began = time.perf_counter()
    yield
    values.append((time.perf_counter() - began) * scale)


@asynccontextmanager
async def _gap(values: list[float]) -> AsyncIterator[None]:
    """The longest gap in milliseconds while the block runs."""
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(_BEAT_S)
            gaps.append(time.thread_time() - began)

    beating = asyncio.ensure_future(beat())
    await asyncio.sleep(10 * _BEAT_S)
    yield
    await asyncio.sleep(10 * _BEAT_S)  # so that the last gap has its end
    beating.cancel()
    values.append(max(gaps) * 1e3)


def _children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main() -> None:
    """Compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--warm", type=int, default=200, help="jobs for the figure of the next job, each round")
    arguments = parser.parse_args()
    compare(arguments.rounds, arguments.warm)


if __name__ == "__main__":
    from benchmarks import worker_pools  # under the name by which a worker can import its tasks

    worker_pools.main()
