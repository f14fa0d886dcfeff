"""The benchmark `interference` in words, and the sizes it is run with; what measures is `benchmarks.interference`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import interference

    if quick:
        return interference.measure((100,), cycles=30, rounds=1, progress=progress)
    return interference.measure(progress=progress)


INTERFERENCE = Benchmark(
    name="interference",
    title="What a long plan costs the extender",
    question="Do filter and prioritize get slower while the planner works?",
    method=(
        "One service with a half-full cluster, its planner as shipped: one process of the lowest priority. Blocks"
        " of scheduling cycles alternate between an idle planner, one that is asked for plan after plan of 10,000"
        " slices over three GPU models with 200 GPUs that are already cut, and one that is asked what the whole "
        "cluster has room for, again and again. Times are measured inside the server around each call. A ratio is"
        " to the idle planner's in the same run; it means something only if the planner got a processor "
        "meanwhile, which is shown."
    ),
    measure=_measure,
    quick="100 nodes instead of 1,000 and 5,000; one round of 30 cycles instead of four of 300.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "meanwhile": "what the planner is asked",
        "cycles": "scheduling cycles measured",
        "p50_ms": "median of filter + prioritize, milliseconds",
        "p99_ms": "99th percentile, milliseconds",
        "p50_ratio": "median ÷ that with an idle planner",
        "p99_ratio": "99th percentile ÷ that with an idle planner",
        "planner_cpu": "share of one processor that the planner got",
        "answers": "questions answered",
    },
)
