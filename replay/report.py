"""Report: the outcomes of all runs as the answer that people and tools get. Called by `sweep`."""

import math
from collections.abc import Sequence

import numpy as np

from replay.config import RunConfig
from replay.tally import RunOutcome
from replay.types import Interval, ProfileJobs, SimulatedWorkload, SimulationAnswer

# Two-sided 97.5 % points of Student's t for 1, 2, … degrees of freedom; from 30 on the series of `_t` has four digits.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
_NORMAL = 1.959964


def of_runs(config: RunConfig, seeds: Sequence[int], outcomes: Sequence[RunOutcome]) -> SimulationAnswer:
    """The answer: means over the runs, with the intervals of the metrics."""
    return SimulationAnswer(
        policy=config.policy,
        moves=config.moves,
        model=config.model,
        gpus=config.gpus,
        discipline=config.discipline,
        workload=_workload(config),
        seeds=list(seeds),
        metrics={name: interval([outcome.metrics[name] for outcome in outcomes]) for name in outcomes[0].metrics},
        per_profile={
            profile: ProfileJobs(
                offered=sum(outcome.offered[profile] for outcome in outcomes),
                accepted=sum(outcome.accepted[profile] for outcome in outcomes),
            )
            for profile in outcomes[0].offered
        },
        stranded_over_time=_over_time(outcomes),
    )


def interval(values: Sequence[float]) -> Interval:
    """Mean and half the width of its 95 % interval (Student's t over independent runs); NaN is left out."""
    good = np.array([value for value in values if not math.isnan(value)])
    if not len(good):
        return Interval(mean=None, ci95=None)
    if len(good) == 1:
        return Interval(mean=float(good[0]), ci95=None)
    half_width = _t(len(good) - 1) * good.std(ddof=1) / math.sqrt(len(good))
    return Interval(mean=float(good.mean()), ci95=float(half_width))


def _t(freedom: int) -> float:
    """The 97.5 % point of Student's t; many degrees of freedom by the expansion of Fisher and Cornish."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = _NORMAL
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def _workload(config: RunConfig) -> SimulatedWorkload:
    if config.trace is not None:
        return SimulatedWorkload(trace=config.trace)
    mix = str(config.mix) if isinstance(config.mix, str) else dict(config.mix)
    return SimulatedWorkload(mix=mix, load=config.load)


def _over_time(outcomes: Sequence[RunOutcome]) -> list[tuple[float, float]]:
    bins = min(len(outcome.stranded) for outcome in outcomes)
    return [
        (outcomes[0].stranded[i][0], sum(outcome.stranded[i][1] for outcome in outcomes) / len(outcomes))
        for i in range(bins)
    ]
