"""The benchmark `repacking` in words, and the sizes it is run with; what measures is `benchmarks.repacking`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import repacking

    return repacking.measure(instances=10 if quick else 100, progress=progress)


REPACKING = Benchmark(
    name="repacking",
    title="Repacks beside an exhaustive search",
    question="Does a repack ever cost more than the cheapest one there is?",
    method=(
        "Random fleets of 2, 3 and 4 GPUs with pods that may and may not move, each asked for room that it does "
        "not have. A search of every sequence of moves finds the cheapest. Beside it: the planner behind migsched"
        " repack, and the quick rule that clears one window by moving at most four slices."
    ),
    measure=_measure,
    quick="10 fleets per size instead of 100.",
    columns={
        "gpus": "GPUs of the fleet",
        "method": "planner, or one window",
        "instances": "fleets asked",
        "solvable": "of them, those with a repack at all",
        "worse": "repacks that cost more than the cheapest",
        "undecided": "fleets too large for the exhaustive search, which do not count",
        "missed": "refusals, or no answer, where there is a repack",
        "below": "repacks that cost less than any legal sequence of moves does: they are none",
        "gaps": "cost over the cheapest in compute slices → number of fleets",
        "seconds": "time per fleet, slowest",
    },
)
