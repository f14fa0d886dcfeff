"""The benchmark `policies` in words, and the sizes it is run with; what measures is `benchmarks.policies`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import policies

    if quick:
        return policies.rows(policies.FIVE_PROFILES, seeds=3, loads=(1.0,), progress=progress)
    five = policies.rows(policies.FIVE_PROFILES, seeds=60, progress=progress)
    return [*five, *policies.rows(policies.SIX_PROFILES, seeds=20, loads=(1.0,), progress=progress)]


POLICIES = Benchmark(
    name="policies",
    title="Where slices go: acceptance of every policy",
    question="Of the compute asked for, how much does each placement policy accept, and what do moves add?",
    method=(
        "100 GPUs. Jobs arrive at random (Poisson), ask for one slice, run for a random time (exponential) and "
        "are lost if they do not fit. The load is in memory: at 1.0 exactly as much is offered as there is. The "
        "first 8 mean lifetimes fill the GPUs and are not counted; arrivals stop at 40. Every policy gets the "
        "same jobs. Values are means over independent runs with their 95 % interval (Student's t). References are"
        " an independent simulator's; they too have an interval, so a difference counts only beyond that of the "
        "difference."
    ),
    measure=_measure,
    quick="3 runs instead of 60, load 1.0 only, five profiles only: intervals are several times wider.",
    columns={
        "profiles": "number of profiles that are asked for",
        "contender": "policy, with what it knows beforehand and how many moves it may make per refused request",
        "mix": "which sizes are asked for how often",
        "load": "memory asked for ÷ memory there is",
        "runs": "independent runs",
        "gpc_acceptance": "share of the compute slices asked for that was accepted",
        "gpc_ci95": "half width of its 95 % interval",
        "count_acceptance": "share of the jobs that was accepted",
        "moves_per_1000": "slices moved per 1,000 accepted jobs",
        "stranded_share": "share of the memory that is free where no profile asked for can use it, over time",
    },
)
