"""A sweep on a Dask cluster of several processes, as on several machines: a scheduler and workers of their own."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from replay import Backend
from tests import plain_answers, waiting
from tests.unit.replay.test_sweep import small, timeless

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")

WORKERS = 3
SWEEP: dict[str, Any] = {"seeds": 12, "gpus": 20, "horizon": 30.0, "moves": 1}


@contextmanager
def _process(directory: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Dask's, its output in `NAME.log`; it is killed at the end."""
    with (directory / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # workers import what we import
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def _written(file: Path) -> bool:
    return file.exists() and file.read_text("utf-8").rstrip().endswith("}")


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """A scheduler and its workers, one process each, on loopback."""

    address: str
    workers: tuple[subprocess.Popen[bytes], ...]

    @classmethod
    @contextmanager
    def of_processes(cls, directory: Path) -> Iterator[Self]:
        """Start all of them, as they are started on machines of their own, and wait until they know each other."""
        file = directory / "scheduler.json"
        here = ("--host", "127.0.0.1", "--scheduler-file", str(file))
        with ExitStack() as stack:
            scheduler = ("distributed.cli.dask_scheduler", *here, "--port", "0", "--no-dashboard")
            stack.enter_context(_process(directory, "scheduler", *scheduler))
            asyncio.run(waiting.eventually(lambda: _written(file), "the scheduler says its address", 60))
            worker = ("distributed.cli.dask_worker", *here, "--nthreads", "1", "--no-nanny", "--no-dashboard")
            workers = [stack.enter_context(_process(directory, f"worker-{n}", *worker)) for n in range(WORKERS)]
            address = json.loads(file.read_text("utf-8"))["address"]
            with distributed.Client(address, timeout=60) as client:
                client.wait_for_workers(WORKERS, timeout=60)
            yield cls(address, tuple(workers))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    """A cluster for one test, which may kill what it wants of it."""
    with DaskCluster.of_processes(tmp_path) as started:
        yield started


def _text(answer: dict[str, Any]) -> str:
    return json.dumps(timeless(answer))


def test_a_cluster_of_processes_gives_the_same_answer_to_the_byte(cluster: DaskCluster) -> None:
    """A sweep over the processes of a Dask cluster gives the bytes that one process gives."""
    answer = plain_answers.simulate(small(**SWEEP, backend=Backend.DASK, scheduler=cluster.address))
    assert _text(answer) == _text(plain_answers.simulate(small(**SWEEP)))


def test_a_worker_killed_in_the_middle_of_a_sweep_loses_nothing(cluster: DaskCluster) -> None:
    """When a worker is killed with runs in its hands, others make them again, and the answer is the same bytes."""
    shares: list[float] = []
    victim = cluster.workers[0]

    def kill_once(share: float) -> None:
        if not shares:
            victim.kill()
            victim.wait()
        shares.append(share)

    answer = plain_answers.simulate(small(**SWEEP, backend=Backend.DASK, scheduler=cluster.address), kill_once)
    assert shares[0] <= WORKERS / SWEEP["seeds"]  # most runs were still to be made
    assert shares[-1] == 1.0
    assert [worker.poll() is None for worker in cluster.workers] == [False, True, True]
    assert _text(answer) == _text(plain_answers.simulate(small(**SWEEP)))
