"""A whole simulation: the answer's form, that it is repeatable, and what cannot be asked for."""

import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from allocator import errors
from allocator.placement import policy
from replay import Backend, Discipline, RunConfig, report
from replay.types import Interval
from tests import plain_answers

METRICS = (
    "count_acceptance",
    "gpc_acceptance",
    "mean_wait_s",
    "p50_wait_s",
    "p95_wait_s",
    "longest_wait_s",
    "makespan_s",
    "gpc_utilisation",
    "stranded_share",
    "moves_per_1000",
    "decisions_per_s",
)


def small(**changes: Any) -> RunConfig:
    """A simulation of a fraction of a second, in this process."""
    return RunConfig(**{"gpus": 8, "seeds": 3, "horizon": 12.0, "workers": 1, **changes})


def timeless(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without the one number that depends on the machine."""
    return {**answer, "metrics": {k: v for k, v in answer["metrics"].items() if k != "decisions_per_s"}}


def test_the_answer_has_the_promised_form() -> None:
    """The answer is JSON with policy, moves, model, gpus, seeds, every metric with mean and interval, and profiles."""
    answer = plain_answers.simulate(small(moves=1))
    assert (answer["policy"], answer["moves"], answer["model"], answer["gpus"]) == ("mfi", 1, "a100-40gb", 8)
    assert answer["seeds"] == [0, 1, 2]
    assert tuple(answer["metrics"]) == METRICS
    for value in answer["metrics"].values():
        assert value["ci95"] >= 0
    assert list(answer["per_profile"]) == ["1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"]
    for counts in answer["per_profile"].values():
        assert 0 < counts["accepted"] <= counts["offered"]
    assert all(0 <= share <= 1 for _, share in answer["stranded_over_time"])


@pytest.mark.parametrize("name", policy.POLICIES)
def test_the_same_seeds_give_the_same_answer(name: str) -> None:
    """A simulation is repeatable to the last digit under every policy, moves included."""
    one, other = (timeless(plain_answers.simulate(small(policy=name, moves=1, seeds=2))) for _ in range(2))
    assert one == other


def test_policies_meet_the_same_jobs() -> None:
    """Whatever the policy, the same seeds offer the same jobs."""
    offered = []
    for name in policy.POLICIES:
        found = plain_answers.simulate(small(policy=name))["per_profile"]
        offered.append({profile: counts["offered"] for profile, counts in found.items()})
    assert all(one == offered[0] for one in offered)


def test_seeds_go_on_from_the_first() -> None:
    """Runs are independent: two runs from seed 1 are the last two of three from seed 0."""
    whole, part = plain_answers.simulate(small()), plain_answers.simulate(small(seeds=2, first_seed=1))
    assert part["seeds"] == [1, 2]
    first = plain_answers.simulate(small(seeds=1))
    for profile, counts in whole["per_profile"].items():
        rest = part["per_profile"][profile]
        assert counts["offered"] == rest["offered"] + first["per_profile"][profile]["offered"]


def test_a_queue_loses_nobody() -> None:
    """Under the discipline queue all are accepted, and some have waited."""
    metrics = plain_answers.simulate(small(discipline=Discipline.QUEUE))["metrics"]
    assert metrics["count_acceptance"]["mean"] == 1.0
    assert metrics["mean_wait_s"]["mean"] > 0
    assert metrics["p50_wait_s"]["mean"] <= metrics["p95_wait_s"]["mean"]


def test_moves_help() -> None:
    """With moves allowed more compute is accepted than without, and the moves are counted."""
    none, one, two = (plain_answers.simulate(small(moves=moves, gpus=20))["metrics"] for moves in (0, 1, 2))
    assert none["gpc_acceptance"]["mean"] < min(m["gpc_acceptance"]["mean"] for m in (one, two))
    assert none["moves_per_1000"]["mean"] == 0
    assert 0 < one["moves_per_1000"]["mean"] < two["moves_per_1000"]["mean"]


def test_the_gpus_offer_only_what_is_asked_for_unless_told() -> None:
    """Only the profiles of the workload are in the answer, or all of the model's where the whole catalogue is asked."""
    asked = plain_answers.simulate(small(mix={"1g.5gb": 1.0, "2g.10gb": 1.0}))["per_profile"]
    assert list(asked) == ["1g.5gb", "2g.10gb"]
    whole = plain_answers.simulate(small(mix={"1g.5gb": 1.0, "2g.10gb": 1.0}, whole_catalogue=True))["per_profile"]
    assert len(whole) == 7
    assert {name: counts["offered"] for name, counts in asked.items()} == {
        name: whole[name]["offered"] for name in asked
    }


def test_every_model_can_be_simulated() -> None:
    """Policies and mixes work on GPUs with other profiles, and with other numbers of slices."""
    for model in ("a30-24gb", "h200-141gb", "rtx-pro-6000-blackwell-96gb"):
        for name in policy.POLICIES:
            metrics = plain_answers.simulate(small(model=model, policy=name, seeds=1, moves=1))["metrics"]
            assert 0.4 < metrics["gpc_acceptance"]["mean"] <= 1


def test_given_weights_replace_the_learnt_ones() -> None:
    """fgd with given weights chooses by these, which is not what it learns."""
    learnt = plain_answers.simulate(small(policy="fgd", gpus=20, mix="skew-small"))
    given = plain_answers.simulate(small(policy="fgd", gpus=20, mix="skew-small", weights={"1g.5gb": 1.0}))
    assert timeless(learnt)["metrics"] != timeless(given)["metrics"]


def trace(path: Path, *rows: str, header: str = "id,arrival_s,profile,duration_s") -> str:
    """A trace file."""
    file = path / "trace.csv"
    file.write_text("\n".join([header, *rows]))
    return str(file)


def test_a_trace_is_one_run_without_an_interval(tmp_path: Path) -> None:
    """A trace is replayed once, whatever the seeds: means without intervals, and null for what was not counted."""
    answer = plain_answers.simulate(small(trace=trace(tmp_path, "a,0,7g.40gb,60", "b,10,7g.40gb,60"), gpus=1, seeds=5))
    assert answer["seeds"] == [0]
    assert answer["metrics"]["count_acceptance"] == {"mean": 0.5, "ci95": None}
    assert answer["metrics"]["makespan_s"]["mean"] == 60.0
    assert answer["workload"] == {"trace": str(tmp_path / "trace.csv")}


def test_a_trace_of_pods_that_may_not_move_refuses_moves(tmp_path: Path) -> None:
    """Moves are refused where no job of the trace may be moved, since they could change nothing."""
    path = trace(tmp_path, "a,0,7g.40gb,60")
    with pytest.raises(errors.SettingsError, match="column movable"):
        plain_answers.simulate(small(trace=path, moves=1))
    movable = trace(tmp_path, "a,0,7g.40gb,60,true", header="id,arrival_s,profile,duration_s,movable")
    assert plain_answers.simulate(small(trace=movable, moves=1))["moves"] == 1


def test_progress_goes_from_nothing_to_all() -> None:
    """The callback gets shares that never go back and end at one."""
    shares: list[float] = []
    plain_answers.simulate(small(), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0.0 <= shares[0] < 1.0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"seeds": 0}, "seeds"),
        ({"seeds": -1}, "seeds"),
        ({"seeds": True}, "seeds"),
        ({"seeds": 10**6}, "seeds"),
        ({"first_seed": -1}, "first seed"),
        ({"gpus": 0}, "gpus"),
        ({"gpus": 10**9}, "gpus"),
        ({"moves": -1}, "moves"),
        ({"moves": 99}, "moves"),
        ({"policy": "magic"}, "policy"),
        ({"model": "k80"}, "model"),
        ({"workers": 0}, "workers"),
        ({"restart_s": -1.0}, "restart"),
        ({"restart_s": float("nan")}, "restart"),
        ({"weights": {"1g.5gb": 1.0}}, "weights"),
        ({"scheduler": "tcp://x"}, "scheduler"),
        ({"mix": "magic"}, "mix"),
        ({"mix": {}}, "mix"),
        ({"load": 0.0}, "load"),
        ({"policy": "fgd", "weights": {"9g.9gb": 1.0}}, "profile on a100-40gb"),
        ({"policy": "fgd", "weights": {"1g.5gb": -1.0}}, "weight of 1g.5gb"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], field: str) -> None:
    """An impossible setting is refused by its name, before anything runs."""
    with pytest.raises(errors.InputError) as caught:
        plain_answers.simulate(small(**wrong))
    assert caught.value.field == field
    assert caught.value.fix


def test_an_interval_is_students() -> None:
    """The half width is Student's t times the standard error; one value has none; missing ones are left out."""
    of_two = report.interval([1.0, 3.0])
    assert of_two.mean == 2.0
    assert of_two.ci95 == pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2))
    assert report.interval([5.0, math.nan]) == Interval(mean=5.0, ci95=None)
    assert report.interval([math.nan]) == Interval(mean=None, ci95=None)


@pytest.mark.parametrize(("runs", "quantile"), [(30, 2.045), (31, 2.042), (60, 2.001), (100, 1.984), (1000, 1.962)])
def test_an_interval_is_students_for_many_runs_too(runs: int, quantile: float) -> None:
    """Past the table the half width is still Student's (quantiles of published tables), not the normal one."""
    values = [float(run % 2) for run in range(runs)]
    error = statistics.stdev(values) / math.sqrt(runs)
    assert report.interval(values).ci95 == pytest.approx(quantile * error, rel=3e-4)


def test_dask_is_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask its backend is refused with what to install."""
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(errors.SettingsError) as caught:
        plain_answers.simulate(small(backend=Backend.DASK))
    assert "distributed" in caught.value.fix
