"""The benchmark `fragmentation` in words, and the sizes it is run with; what measures is `benchmarks.fragmentation`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import fragmentation

    if quick:
        return fragmentation.measure(2, ("uniform",), progress=progress)
    return fragmentation.measure(progress=progress)


FRAGMENTATION = Benchmark(
    name="fragmentation",
    title="Fragmentation over time",
    question="How much memory becomes free but useless while a fleet fills and lives?",
    method=(
        "The same simulation from empty GPUs on, at load 1.0, nothing left out. Stranded is memory that is free "
        "where no profile of the mix can use it. Unusable is memory that is free where a request cannot use it, "
        "averaged over the requests, each by the memory it asks for: who spreads small slices over all GPUs "
        "strands nothing, but has no room for anything large. Means over independent runs."
    ),
    measure=_measure,
    quick="one mix instead of four, 2 runs instead of 20.",
    columns={
        "contender": "policy, with how many moves it may make per refused request",
        "mix": "which sizes are asked for how often",
        "runs": "independent runs",
        "lifetimes": "moments, in mean lifetimes of a job since the start",
        "stranded": "share of memory free where no profile asked for can use it, means up to each moment",
        "unusable": "share of memory that is free where a request cannot use it, averaged over all requests",
    },
)
