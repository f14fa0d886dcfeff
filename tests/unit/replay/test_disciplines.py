"""What becomes of jobs that do not fit, by discipline: who waits for whom, and whose start is not put off."""

import pytest

from allocator import errors
from allocator.mig import geometry, gpu_models
from allocator.placement import policy
from replay import RunConfig, engine
from replay.engine import Rules
from replay.job import Job
from replay.pool import GpuPool
from replay.tally import RunOutcome, Tally
from replay.types import Discipline

KNOWN = geometry.compiled(gpu_models.find("a100-40gb"))
FULL = "7g.40gb"


def job(at: float, profile: str, lasts: float, priority: int = 0) -> Job:
    """A job that asks for one profile."""
    return Job(at, lasts, (KNOWN.profile_index[profile],), lasts, priority)


def run(discipline: Discipline, *jobs: Job, gpus: int = 1, patience_s: float = 0.0) -> RunOutcome:
    """The outcome of these jobs."""
    tally = Tally(KNOWN, gpus, (0.0, float("inf")))
    rules = Rules(discipline, patience_s=patience_s)
    engine.replay(sorted(jobs), GpuPool(KNOWN, gpus, policy.find("first-fit")), rules, tally)
    return tally.outcome(spent_s=1.0)


# A small job always runs: each comes before the last one has ended.
STREAM = [job(at, "1g.5gb", 3) for at in range(0, 20, 2)]


def test_without_reservations_small_jobs_starve_a_large_one() -> None:
    """Under queue a job of a whole GPU waits until no more small ones come."""
    assert run(Discipline.QUEUE, *STREAM, job(1, FULL, 5)).longest_wait_s[FULL] == 20.0


def test_first_in_first_out_stops_at_the_first() -> None:
    """Under fifo nothing starts before what came before it, although there is room."""
    outcome = run(Discipline.FIFO, *STREAM, job(1, FULL, 5))
    assert outcome.longest_wait_s[FULL] == 2.0
    assert outcome.longest_wait_s["1g.5gb"] == pytest.approx(8 - 2)


def test_a_reservation_is_kept_from_those_behind() -> None:
    """Under reserve it starts when those have ended that ran when its patience was over."""
    outcome = run(Discipline.RESERVE, *STREAM, job(1, FULL, 5), patience_s=4)
    assert outcome.longest_wait_s[FULL] == pytest.approx(6.0)  # patience is over at 5, and noticed when one ends


def test_others_go_on_elsewhere() -> None:
    """A reservation on one GPU is not felt on another."""
    outcome = run(Discipline.RESERVE, job(0, FULL, 30), *STREAM, job(1, FULL, 5), gpus=2)
    assert outcome.longest_wait_s[FULL] == 2.0
    assert outcome.longest_wait_s["1g.5gb"] == 6.0


def test_the_rest_of_the_gpu_goes_on() -> None:
    """Who waits for one half of a GPU does not keep others from the other half, only from its own."""
    outcome = run(
        Discipline.RESERVE, job(0, "2g.10gb", 10), job(1, "4g.20gb", 2), job(2, "3g.20gb", 5), job(3, "1g.5gb", 1)
    )
    assert outcome.longest_wait_s["3g.20gb"] == 0.0
    assert outcome.longest_wait_s["1g.5gb"] == 4.0
    assert outcome.longest_wait_s["4g.20gb"] == 9.0


def test_a_job_of_higher_priority_may_use_reserved_room() -> None:
    """What keeps those behind out does not keep those before out; afterwards the place is waited for again."""
    outcome = run(Discipline.RESERVE, job(0, "1g.5gb", 10), job(1, FULL, 5), job(2, "2g.10gb", 20, priority=1))
    assert outcome.longest_wait_s["2g.10gb"] == 0.0
    assert outcome.longest_wait_s[FULL] == 21.0


def test_known_ends_let_short_jobs_pass() -> None:
    """Under easy a job that ends before the first one can start may use its room; a longer one may not."""
    jobs = [job(0, "1g.5gb", 10), job(1, FULL, 5), job(2, "2g.10gb", 7), job(3, "3g.20gb", 9)]
    outcome = run(Discipline.EASY, *jobs)
    assert outcome.longest_wait_s[FULL] == 9.0
    assert outcome.longest_wait_s["2g.10gb"] == 0.0
    assert outcome.longest_wait_s["3g.20gb"] == 12.0


def test_moves_know_no_reservations() -> None:
    """Both together are refused, with the field."""
    with pytest.raises(errors.SettingsError, match="moves"):
        RunConfig(discipline=Discipline.RESERVE, moves=1)
