"""The benchmark `planning` in words, and the sizes it is run with; what measures is `benchmarks.planning`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import planning

    return planning.measure(12, (8,), progress, large=1) if quick else planning.measure(12, progress=progress)


PLANNING = Benchmark(
    name="planning",
    title="Capacity plans: how many GPUs a demand needs",
    question="Is a plan the best there is, how much do simpler rules waste, and how long does it take?",
    method=(
        "Random demands of 100 and 1,000 slices. The optimum is not taken from the planner's word: no plan can "
        "have fewer GPUs than the linear program over all ways to cut a GPU, rounded up. First fit decreasing "
        "sorts the demand by size; online first fit takes it as it comes. Then 10,000 slices over three GPU "
        "models with 200 GPUs that are already cut. Then repacks of random fleets, with the gap to the optimum "
        "that each states."
    ),
    measure=_measure,
    quick="one large demand instead of four; repacks of 8 GPUs only.",
    columns={
        "what": "plan; plan, three models; or repack",
        "mix": "which sizes are asked for how often",
        "slices": "slices asked for",
        "method": "how GPUs were counted",
        "runs": "random demands",
        "over_gpus": "GPUs over the lower bound, worst demand",
        "over_percent": "the same in percent of it, mean",
        "over_ci95": "half width of its 95 % interval",
        "seconds": "time, slowest",
        "gap": "what is not proven, as a share of the cost: 0 is a proven optimum",
        "gpus": "GPUs of the fleet",
        "question": "what the repack is asked for",
        "possible": "whether there is such a repack",
        "moves": "pods that restart",
        "gpc": "compute slices that restart",
    },
)
