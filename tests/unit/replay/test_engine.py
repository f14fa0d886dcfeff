"""One run by hand: who gets a slice, when, and what is counted."""

from collections.abc import Sequence

import pytest

from allocator.mig import geometry, gpu_models
from allocator.placement import policy
from replay import engine
from replay.engine import Rules
from replay.job import Job
from replay.pool import GpuPool
from replay.tally import RunOutcome, Tally
from replay.types import Discipline

KNOWN = geometry.compiled(gpu_models.find("a100-40gb"))


def job(at: float, profile: str, lasts: float, *others: str, priority: int = 0, movable: bool = True) -> Job:
    """A job that asks for a profile, or else for one of the others."""
    wanted = tuple(KNOWN.profile_index[name] for name in (profile, *others))
    return Job(at, lasts, wanted, lasts, priority, movable)


def run(
    jobs: Sequence[Job],
    rules: Rules,
    gpus: int = 1,
    by: str = "first-fit",
    window: tuple[float, float] = (0.0, float("inf")),
) -> RunOutcome:
    """The outcome of these jobs."""
    tally = Tally(KNOWN, gpus, window)
    engine.replay(jobs, GpuPool(KNOWN, gpus, policy.find(by)), rules, tally)
    return tally.outcome(spent_s=1.0)


REJECT, QUEUE = Rules(), Rules(Discipline.QUEUE)


def test_what_does_not_fit_is_lost() -> None:
    """Under reject a job that does not fit when it arrives is never accepted."""
    found = run([job(0, "7g.40gb", 10), job(1, "1g.5gb", 10), job(10, "1g.5gb", 10)], REJECT)
    assert found.offered["1g.5gb"] == 2
    assert found.accepted["1g.5gb"] == 1
    assert found.metrics["count_acceptance"] == pytest.approx(2 / 3)
    assert found.metrics["gpc_acceptance"] == pytest.approx(8 / 9)
    assert found.metrics["makespan_s"] == 20.0


def test_what_ends_makes_room_for_what_arrives_then() -> None:
    """A job that arrives at the very moment another ends gets its room."""
    assert run([job(0, "7g.40gb", 5), job(5, "7g.40gb", 5)], REJECT).metrics["count_acceptance"] == 1.0


def test_a_queue_accepts_all_and_says_how_long_they_waited() -> None:
    """Under queue every job runs in the end, and its wait is from arrival to start."""
    found = run([job(0, "7g.40gb", 10), job(2, "7g.40gb", 10), job(4, "7g.40gb", 10)], QUEUE)
    assert found.metrics["count_acceptance"] == 1.0
    assert found.metrics["mean_wait_s"] == pytest.approx((0 + 8 + 16) / 3)
    assert found.metrics["p50_wait_s"] == pytest.approx(8.0)
    assert found.metrics["p95_wait_s"] == pytest.approx(15.2)
    assert found.metrics["makespan_s"] == 30.0


def test_a_queue_is_filled_up_from_behind() -> None:
    """A small job behind a large one that waits starts at once where it fits."""
    found = run([job(0, "4g.20gb", 10), job(1, "7g.40gb", 1), job(2, "1g.5gb", 1)], QUEUE)
    assert found.metrics["mean_wait_s"] == pytest.approx((0 + 9 + 0) / 3)


def test_a_queue_is_first_in_first_out_among_equals() -> None:
    """Of two that would both fit alone the one that came first starts first."""
    jobs = [job(0, "7g.40gb", 10), job(1, "7g.40gb", 5), job(2, "4g.20gb", 5)]
    assert run(jobs, QUEUE).metrics["mean_wait_s"] == pytest.approx((0 + 9 + 13) / 3)


def test_priority_leaves_the_queue_first() -> None:
    """A later job of higher priority starts before an earlier one."""
    jobs = [job(0, "7g.40gb", 10), job(1, "7g.40gb", 5), job(2, "7g.40gb", 1, priority=1)]
    assert run(jobs, QUEUE).metrics["mean_wait_s"] == pytest.approx((0 + 10 + 8) / 3)


def test_priority_counts_between_kinds() -> None:
    """A later job of higher priority starts before an earlier one that wants another profile."""
    jobs = [job(0, "7g.40gb", 10), job(1, "7g.40gb", 5), job(2, "4g.20gb", 1, priority=1)]
    assert run(jobs, QUEUE).metrics["mean_wait_s"] == pytest.approx((0 + 10 + 8) / 3)


def test_an_alternative_is_taken_where_the_first_wish_does_not_fit() -> None:
    """A job gets an alternative profile, and counts as the one it asked for."""
    found = run([job(0, "4g.20gb", 10), job(1, "4g.20gb", 10, "3g.20gb")], REJECT)
    assert found.accepted["4g.20gb"] == 2
    assert found.metrics["gpc_utilisation"] == pytest.approx((4 * 10 + 3 * 10) / (7 * 11))


def test_the_score_chooses_among_alternatives() -> None:
    """Where several wishes fit, the one with the least loss is taken, not the one written first."""
    found = run([job(0, "7g.40gb", 10, "1g.5gb")], REJECT, by="mfi")
    assert found.metrics["gpc_utilisation"] == pytest.approx(1 / 7)


def test_a_move_makes_room() -> None:
    """A refused job runs after another was moved out of the one place it could be, and the move is counted."""
    jobs = [job(0, "3g.20gb", 20), job(2, "4g.20gb", 20)]  # first fit puts the 3g where the only 4g could be
    assert run(jobs, REJECT).accepted["4g.20gb"] == 0
    moved = run(jobs, Rules(moves=1))
    assert moved.accepted["4g.20gb"] == 1
    assert moved.metrics["moves_per_1000"] == pytest.approx(1000 / 2)


def test_a_pinned_job_is_not_moved() -> None:
    """A job that may not be moved stays, and the one that needed its place is lost."""
    jobs = [job(0, "3g.20gb", 20, movable=False), job(2, "4g.20gb", 20)]
    assert run(jobs, Rules(moves=1)).accepted["4g.20gb"] == 0


def test_what_was_pinned_is_forgotten_with_its_job() -> None:
    """After a pinned job has ended, a movable one in the same place can be moved."""
    jobs = [job(0, "3g.20gb", 1, movable=False), job(1, "3g.20gb", 20), job(2, "4g.20gb", 20)]
    assert run(jobs, Rules(moves=1)).accepted["4g.20gb"] == 1


def test_a_moved_job_ends_when_it_would_have_ended() -> None:
    """A move changes where a job runs; its slice is free again when the job is over."""
    jobs = [job(0, "3g.20gb", 10), job(2, "4g.20gb", 100), job(10, "3g.20gb", 1)]
    assert run(jobs, Rules(moves=1)).metrics["count_acceptance"] == 1.0


def test_a_restart_is_charged_to_the_moved_job() -> None:
    """A moved job runs as much longer as its restart takes, each time."""
    jobs = [job(0, "3g.20gb", 10), job(2, "4g.20gb", 3), job(10, "3g.20gb", 1), job(11, "7g.40gb", 1)]
    charged = run(jobs, Rules(moves=1, restart_s=0.5))
    assert charged.metrics["count_acceptance"] == 1.0
    assert charged.metrics["makespan_s"] == 12.0
    charged = run(jobs, Rules(moves=1, restart_s=2.0))
    assert charged.accepted["7g.40gb"] == 0


def test_only_jobs_of_the_window_count() -> None:
    """Jobs that arrive before or after the window run, but are not counted."""
    jobs = [job(0, "7g.40gb", 3), job(1, "1g.5gb", 1), job(4, "1g.5gb", 2), job(9, "2g.10gb", 1)]
    found = run(jobs, REJECT, window=(2.0, 8.0))
    assert found.offered == {name: int(name == "1g.5gb") for name in KNOWN.profiles}
    assert found.metrics["gpc_utilisation"] == pytest.approx((7 * 1 + 1 * 2) / (7 * 6))
    assert found.metrics["decisions_per_s"] == 4.0


def test_stranded_memory_is_averaged_over_time() -> None:
    """The stranded share is the mean over time of the memory that no profile can use where it lies."""
    found = run([job(0, "3g.20gb", 10), job(0, "4g.20gb", 10)], REJECT)
    assert found.accepted["4g.20gb"] == 0
    full = [job(0, "1g.5gb", 10) for _ in range(7)]
    found = run([*full, job(15, "1g.5gb", 5)], REJECT)
    assert found.metrics["stranded_share"] == pytest.approx(1 / 8 * 10 / 20)
    assert found.stranded[0] == pytest.approx((1.0, 1 / 8))
    assert found.stranded[-1][0] == 20.0


def test_fgd_learns_the_demand_while_it_runs() -> None:
    """A policy that follows the demand has other weights after many requests of one kind."""
    pool = GpuPool(KNOWN, 2, policy.find("fgd"))
    tally = Tally(KNOWN, 2, (0.0, float("inf")))
    engine.replay([job(t, "1g.5gb", 0.5) for t in range(5000)], pool, Rules(demand_floor=0.1), tally)
    assert pool.policy == policy.fgd(tuple((name, 1.0 if name == "1g.5gb" else 6 / 64) for name in KNOWN.profiles))


def test_known_ends_group_what_ends_together() -> None:
    """Under mfi-lifetime a short job goes to the GPU that is busy longest, a long one to where it puts off least."""
    pool = GpuPool(KNOWN, 3, policy.find("mfi-lifetime"))
    small = KNOWN.profile_index["3g.20gb"]
    for gpu, end in enumerate((10.0, 50.0, 30.0)):
        pool.place(gpu, pool.placement(small, gpu), end)
    assert pool.choose(small, 0.0, 60.0) == 1
    assert pool.choose(small, 0.0, 40.0) == 1
    pool.place(1, pool.placement(small, 1), 40.0)
    assert pool.choose(small, 0.0, 40.0) == 2


def test_progress_is_told_in_simulated_time() -> None:
    """The callback gets the arrival times of some jobs, in order."""
    seen: list[float] = []
    tally = Tally(KNOWN, 1, (0.0, float("inf")))
    jobs = [job(t, "1g.5gb", 0.5) for t in range(5000)]
    engine.replay(jobs, GpuPool(KNOWN, 1, policy.DEFAULT), REJECT, tally, seen.append)
    assert seen == sorted(seen)
    assert len(seen) >= 2
