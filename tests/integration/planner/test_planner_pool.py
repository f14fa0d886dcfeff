"""The planner's pool on real worker processes: answers, refusals, deadlines, deaths, and what is left behind."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from allocator.claims import snapshot_file
from allocator.mig import gpu_models
from scheduler.metrics import Metrics
from scheduler.planner.pool import PlannerPool
from scheduler.planner.port import (
    BusyError,
    DocumentError,
    InternalError,
    JobFactory,
    PlannerDeadlineError,
    PlannerError,
    PlannerJob,
    PoolLimits,
    ShuttingDownError,
    Task,
    TooLargeError,
    WorkerCrashedError,
)
from tests.integration.planner import work
from tests.waiting import eventually

LIMITS = PoolLimits(deadline_s=30.0, memory_mib=2048, nice=0)  # as important as the tests beside it
PIPE_BYTES = 2**16


@pytest.fixture
async def pool() -> AsyncIterator[PlannerPool]:
    planner_pool = PlannerPool(LIMITS, Metrics())
    yield planner_pool
    await planner_pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[PlannerPool]:
    """A pool for jobs that its workers survive: a new process takes half a second."""
    planner_pool = PlannerPool(LIMITS, Metrics())
    yield planner_pool
    await planner_pool.close()


def made(job: PlannerJob) -> JobFactory:
    """A factory for a job that is made already."""

    async def make_job() -> PlannerJob:
        return job

    return make_job


async def answer(pool: PlannerPool, task: Task, document: Any = None, **more: Any) -> Any:
    """The decoded answer of a task about a JSON document."""
    body = b"" if document is None else json.dumps(document).encode()
    return json.loads(await pool.submit(task, made(PlannerJob(body, **more))))


class CountedChunks(Sequence[bytes]):
    """A snapshot of blanks that counts how many of its chunks were given out; each is as large as a pipe."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.given = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        """The chunk at an index."""
        if index >= self._length:
            raise IndexError(index)
        self.given += 1
        return b" " * PIPE_BYTES


async def given_up(job: "asyncio.Task[Any]") -> None:
    """Cancel a job and wait until that is done."""
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job


def planner_processes() -> set[int]:
    """The worker processes that the main thread, which runs the event loops, has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in children if b"scheduler.planner.worker" in command(pid)}


def command(pid: str) -> bytes:
    """A process's command line; empty once the process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def begun(file: Path) -> int:
    """The process id of an endless task, once it works."""
    await eventually(lambda: file.exists() and file.read_text() != "", "the task begins")
    return int(file.read_text())


async def test_a_task_gets_the_document_and_its_terms() -> None:
    """Document, snapshot, models and time limit reach the task; it runs in a process of its own, of low priority."""
    a100 = gpu_models.find("a100-40gb")
    saved = snapshot_file.encode(snapshot_file.describe([(a100, 2, 1)])).encode()
    more: dict[str, Any] = {"snapshot": (saved[:100], saved[100:]), "catalogues": {"mine": a100}, "time_limit_s": 2.5}
    pool = PlannerPool(replace(LIMITS, nice=19), Metrics())
    echoed = await answer(pool, work.echo, {"demand": 1}, **more)
    await pool.close()
    assert echoed["document"] == {"demand": 1}
    assert echoed["nodes"] == ["a100-40gb-0000", "a100-40gb-0001"]
    assert (echoed["models"], echoed["limit_s"], echoed["nice"]) == (["mine"], 2.5, 19)
    assert echoed["memory"] == LIMITS.memory_mib * 2**20
    assert echoed["oom_score_adj"] == 1000


async def test_large_messages_arrive_whole(pool: PlannerPool) -> None:
    """A snapshot and an answer of many times what a pipe holds come whole, in whatever chunks they are sent."""
    saved = snapshot_file.encode(snapshot_file.describe([(gpu_models.find("a100-40gb"), 600, 8)])).encode()
    chunks = [saved[start : start + 10_000] for start in range(0, len(saved), 10_000)]
    document = "x" * 2**21
    echoed = await answer(pool, work.echo, document, snapshot=chunks)
    assert len(saved) > 4 * PIPE_BYTES
    assert len(echoed["nodes"]) == 600
    assert echoed["document"] == document


async def test_the_event_loop_goes_on_while_a_snapshot_is_sent(pool: PlannerPool) -> None:
    """What the pipe has no room for waits chunk by chunk, so the loop has its turn before all is sent."""
    chunks = CountedChunks(64)
    job = asyncio.create_task(pool.submit(work.echo, made(PlannerJob(b"", snapshot=chunks))))
    await eventually(lambda: chunks.given > len(chunks), "sending begins, after the lengths were added up")
    assert chunks.given < 2 * len(chunks)
    await given_up(job)


@pytest.mark.parametrize(("asked_s", "most"), [(None, 5.0), (1000.0, 0.8 * LIMITS.deadline_s)])
async def test_a_search_ends_before_the_deadline(pool: PlannerPool, asked_s: float | None, most: float) -> None:
    """The task's own time limit holds by default, and no time limit reaches past the deadline."""
    limit_s = (await answer(pool, work.echo, time_limit_s=asked_s))["limit_s"]
    assert most - 5 < limit_s <= most


async def test_yaml_is_read_where_the_document_is_not_json(pool: PlannerPool) -> None:
    """YAML and an empty document are read as the commands read them."""
    body = b"demand: {3g.20gb: 4}\ngoal: cost\n"
    echoed = json.loads(await pool.submit(work.echo, made(PlannerJob(body, is_json=False))))
    assert echoed["document"] == {"demand": {"3g.20gb": 4}, "goal": "cost"}
    assert (await answer(pool, work.echo))["document"] == {}


@pytest.mark.parametrize(
    ("body", "is_json"),
    [(b"{", True), (b"\xff", True), (b"[" * 100_000, True), (b"a: [", False), (b"\xff\xfe\xfa", False),
     (b"[" * 2_000, False), (b"2020-99-99", False), (b'{"a": 1, "a": 2}', True), (b"a: 1\na: 2", False),
     (b'{"a": NaN}', True), (b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + b"".join(
         b"%c: &%c [%s]\n" % (97 + n, 97 + n, b", ".join([b"*%c" % (96 + n)] * 10)) for n in range(1, 9)), False)],
)  # fmt: skip
@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_read_is_refused(shared: PlannerPool, body: bytes, is_json: bool) -> None:
    """A body that is not what it claims to be, or could be read in two ways, is refused, and the worker lives on."""
    with pytest.raises(DocumentError) as refusal:
        await shared.submit(work.echo, made(PlannerJob(body, is_json=is_json)))
    assert (await answer(shared, work.echo, 1))["document"] == 1
    assert refusal.value.field.startswith("document")
    assert refusal.value.fix


@pytest.mark.parametrize("body", [b'"\\ud800"', b'{"\\ud800": 1}'])
@pytest.mark.parametrize("task", [work.echo, work.refuse, work.descend])
@pytest.mark.asyncio(loop_scope="module")
async def test_half_a_character_is_refused(shared: PlannerPool, task: Task, body: bytes) -> None:
    """What UTF-8 cannot hold is refused as input, whether an answer or an error would repeat it."""
    with pytest.raises(DocumentError) as refusal:
        await shared.submit(task, made(PlannerJob(body, is_json=False)))
    assert str(refusal.value).encode()


async def test_too_deep_a_document_is_refused(pool: PlannerPool) -> None:
    """Where nesting exhausts the stack of a task, the document is refused."""
    with pytest.raises(DocumentError, match="nested too deeply"):
        await answer(pool, work.descend, {"a": 1})


async def test_a_refusal_names_field_value_and_fix(pool: PlannerPool) -> None:
    """A task's InputError comes back with its parts."""
    with pytest.raises(DocumentError) as refusal:
        await answer(pool, work.refuse, "x" * 500)
    error = refusal.value
    assert (error.field, error.fix) == ("fleet[0].count", "write a number")
    assert error.shown.startswith("'xxx")
    assert len(error.shown) < 200


@pytest.mark.parametrize(
    ("task", "error"), [(work.fail, InternalError), (work.hoard, TooLargeError), (work.die, WorkerCrashedError)]
)
async def test_after_a_failure_the_next_job_is_done(pool: PlannerPool, task: Task, error: type[PlannerError]) -> None:
    """A defect, too much memory or the worker's death is the error of one job and of no other."""
    with pytest.raises(error):
        await answer(pool, task)
    assert (await answer(pool, work.echo, 1))["document"] == 1
    assert pool.pending == 0


async def test_the_death_of_a_worker_says_how_it_died(pool: PlannerPool) -> None:
    """The signal is named."""
    with pytest.raises(WorkerCrashedError, match="SIGABRT"):
        await answer(pool, work.die)


async def test_what_a_task_prints_is_not_part_of_the_answer(pool: PlannerPool) -> None:
    """Output of libraries does not break the messages."""
    assert await answer(pool, work.noisy) == {"said": True}


async def test_the_deadline_kills_the_work(pool: PlannerPool, tmp_path: Path) -> None:
    """A job that takes too long is PlannerDeadlineError, its worker is gone, the next one gets a new worker."""
    file = tmp_path / "began"
    await answer(pool, work.echo)  # the worker is up, however long that took
    pool.limits = replace(LIMITS, deadline_s=2.0)
    with pytest.raises(PlannerDeadlineError, match="no answer within 2 s"):
        await answer(pool, work.endless, {"began": str(file)})
    assert not alive(int(file.read_text()))
    pool.limits = LIMITS
    assert (await answer(pool, work.echo, 1))["document"] == 1


async def test_cancelling_kills_the_work(pool: PlannerPool, tmp_path: Path) -> None:
    """To cancel a job stops its work at once; the next job is done."""
    job = asyncio.create_task(answer(pool, work.endless, {"began": str(tmp_path / "began")}))
    pid = await begun(tmp_path / "began")
    await given_up(job)
    assert not alive(pid)
    assert (await answer(pool, work.echo, 2))["document"] == 2


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_job_cancelled_while_its_worker_starts_leaves_no_process(
    new_event_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """At whatever step of starting a worker its job is cancelled, no process stays behind."""

    async def cancel_at_each_step() -> None:
        pool = PlannerPool(LIMITS, Metrics())
        for steps in range(12):
            job = asyncio.create_task(answer(pool, work.echo))
            for _ in range(steps):
                await asyncio.sleep(0)
            await given_up(job)
        assert pool.processes() == []
        await eventually(lambda: planner_processes() == before, "no worker is left")

    before = planner_processes()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(cancel_at_each_step())


async def test_a_full_queue_refuses(tmp_path: Path) -> None:
    """Jobs beyond the workers and the queue are refused with when to come back; cancelling one makes room."""
    pool = PlannerPool(replace(LIMITS, queue=1), Metrics())
    running = asyncio.create_task(answer(pool, work.endless, {"began": str(tmp_path / "began")}))
    await begun(tmp_path / "began")
    waiting = asyncio.create_task(answer(pool, work.echo, 3))
    await eventually(lambda: pool.pending == 2, "one waits")
    with pytest.raises(BusyError) as refusal:
        await answer(pool, work.echo)
    assert refusal.value.retry_after_s >= 1
    running.cancel()
    assert (await waiting)["document"] == 3
    await pool.close()


async def test_closing_ends_all_work(tmp_path: Path) -> None:
    """Running and waiting jobs end with an error, and no process is left."""
    pool = PlannerPool(LIMITS, Metrics())
    running = asyncio.create_task(answer(pool, work.endless, {"began": str(tmp_path / "began")}))
    pid = await begun(tmp_path / "began")
    waiting = asyncio.create_task(answer(pool, work.echo))
    await eventually(lambda: pool.pending == 2, "one waits")
    await pool.close()
    for job in (running, waiting):
        with pytest.raises(ShuttingDownError):
            await job
    assert not alive(pid)


async def test_workers_serve_again_and_end_when_idle() -> None:
    """No process before the first job; the same one for the next; none after some time without jobs."""
    pool = PlannerPool(replace(LIMITS, idle_s=0.2), Metrics())
    assert pool.processes() == []
    first = (await answer(pool, work.echo))["pid"]
    assert first == (await answer(pool, work.echo))["pid"]
    assert pool.processes() == [first]
    await eventually(lambda: pool.processes() == [], "the worker ends")
    await eventually(lambda: not alive(first), "its process is gone")
    assert (await answer(pool, work.echo))["pid"] != first
    await pool.close()


async def test_several_workers_work_at_once(tmp_path: Path) -> None:
    """With two workers a second job does not wait for the first."""
    pool = PlannerPool(replace(LIMITS, workers=2), Metrics())
    running = asyncio.create_task(answer(pool, work.endless, {"began": str(tmp_path / "began")}))
    await begun(tmp_path / "began")
    assert (await answer(pool, work.echo, 4))["document"] == 4
    await given_up(running)
    await pool.close()


async def test_no_worker_outlives_a_service_that_is_killed(tmp_path: Path) -> None:
    """A worker whose service is gone ends in the middle of its work."""
    script = (
        "import asyncio, json, sys\n"
        "from scheduler.metrics import Metrics\n"
        "from scheduler.planner.pool import PlannerPool\n"
        "from scheduler.planner.port import PoolLimits, PlannerJob\n"
        "from tests.integration.planner import work\n"
        "async def make_job(): return PlannerJob(json.dumps({'began': sys.argv[1]}).encode())\n"
        "async def main(): await PlannerPool(PoolLimits(), Metrics()).submit(work.endless, make_job)\n"
        "asyncio.run(main())\n"
    )
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path / "began"))
    pid = await begun(tmp_path / "began")
    service.kill()
    await service.wait()
    await eventually(lambda: not alive(pid), "the worker ends")


async def test_questions_of_one_client_do_not_keep_the_planner_from_another(tmp_path: Path) -> None:
    """Five endless questions, asked again whenever one ends, leave another client an answer within its deadline."""
    pool = PlannerPool(LIMITS, Metrics())
    document = json.dumps({"began": str(tmp_path / "began")}).encode()

    async def ask_for_ever() -> None:
        while True:
            with contextlib.suppress(PlannerError):
                await pool.submit(work.endless, made(PlannerJob(document)), "greedy")
            await asyncio.sleep(0)  # refused at once, it lets others have their turn

    greedy = [asyncio.create_task(ask_for_ever()) for _ in range(5)]
    await begun(tmp_path / "began")
    answered = await pool.submit(work.echo, made(PlannerJob(b"1")), "other")
    assert json.loads(answered)["document"] == 1
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    await pool.close()


async def test_alone_a_client_has_all_the_time(tmp_path: Path) -> None:
    """A question may take more than that while only its own client waits, and says so when others cut it short."""
    pool = PlannerPool(LIMITS, Metrics())
    document = json.dumps({"began": str(tmp_path / "began")}).encode()
    first = asyncio.create_task(pool.submit(work.endless, made(PlannerJob(document)), "one"))
    await begun(tmp_path / "began")
    second = asyncio.create_task(pool.submit(work.echo, made(PlannerJob(b"1")), "one"))
    done, _ = await asyncio.wait((first, second), timeout=1.05 * pool.limits.contended_s)
    assert not done
    assert json.loads(await pool.submit(work.echo, made(PlannerJob(b"2")), "other"))["document"] == 2
    with pytest.raises(
        PlannerDeadlineError, match="no answer within 6 s, as long as one question may take while others"
    ):
        await first
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await pool.close()
