"""The benchmark `decisions` in words, and the sizes it is run with; what measures is `benchmarks.decisions`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import decisions

    return decisions.measure(models=("a100-40gb",) if quick else None, progress=progress)


DECISIONS = Benchmark(
    name="decisions",
    title="What a decision costs",
    question="How many placements per second does one core decide, under each policy and on each GPU model?",
    method=(
        "The simulation at load 1.0, uniform mix, 100 GPUs, on one core: processor time of a whole run, "
        "generating jobs and ending them included, divided by the jobs decided; the median of several runs. "
        "Tables are what is computed once per GPU model and policy before the first decision."
    ),
    measure=_measure,
    quick="one GPU model instead of all.",
    columns={
        "model": "GPU model",
        "contender": "policy, with how many moves it may make per refused request",
        "states": "states that one GPU of the model can be in",
        "tables_ms": "milliseconds to compute the tables, once",
        "us_per_decision": "microseconds of processor time per job decided",
        "placements_per_s": "jobs placed per second of processor time",
    },
)
