"""A simulation in several processes, on this machine or through Dask, is the one that a single process makes."""

import pytest

from replay import Backend
from tests import plain_answers
from tests.unit.replay.test_sweep import small, timeless


def test_processes_change_nothing() -> None:
    """Several processes give the answer of one, and their progress never goes back and ends at one."""
    shares: list[float] = []
    assert timeless(plain_answers.simulate(small(workers=2), shares.append)) == timeless(
        plain_answers.simulate(small())
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0.0 <= shares[0] < 1.0


def test_dask_gives_the_same_answer() -> None:
    """A local Dask cluster gives the answer of this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        answer = plain_answers.simulate(small(backend=Backend.DASK, scheduler=cluster.scheduler_address))
    assert timeless(answer) == timeless(plain_answers.simulate(small()))
