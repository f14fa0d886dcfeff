"""Backends: where the runs of a sweep are computed. Chosen by `sweep`.

Both are `concurrent.futures` executors, so a sweep does not know the difference. On many machines the runs go to a
Dask cluster (https://distributed.dask.org), which is an optional dependency: `pip install distributed` on all of
them, migsched's environment included, then give its scheduler's address.
"""

import importlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from allocator import errors
from replay.config import Backend, RunConfig


@contextmanager
def executor(config: RunConfig, runs: int) -> Iterator[Executor | None]:
    """Where to compute this many runs; None for here, in this process.

    Raises SettingsError if Dask is wanted and not installed, or its scheduler cannot be reached.
    """
    if config.backend is Backend.DASK:
        with _dask(config.scheduler) as dask_executor:
            yield dask_executor
        return
    workers = min(runs, config.workers or os.cpu_count() or 1)
    if workers == 1:
        yield None
        return
    # Not fork: the caller may have threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def _dask(scheduler: str | None) -> Iterator[Executor]:
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise errors.SettingsError("backend", "dask", "pip install distributed, or use the backend local") from None
    try:
        client = distributed.Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise errors.SettingsError("scheduler", scheduler, f"give the address of a Dask scheduler ({error})") from error
    with client, client.get_executor(pure=False) as dask_executor:
        yield dask_executor
