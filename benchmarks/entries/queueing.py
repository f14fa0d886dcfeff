"""The benchmark `queue` in words, and the sizes it is run with; what measures is `benchmarks.queueing`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import queueing

    if quick:
        return queueing.measure(1, ("skew-small",), (queueing.QUEUE, queueing.DEFAULT), progress=progress)
    return queueing.measure(progress=progress)


QUEUE = Benchmark(
    name="queue",
    title="Who waits: disciplines of the queue",
    question="How long do the largest pods wait behind small ones, and what does it cost to shorten that?",
    method=(
        "100 A100-40GB, jobs as for the policies, at load 0.95 of the memory, but a job that does not fit waits. "
        "queue: later ones that fit go ahead. fifo: none does. reserve: as queue, but who has waited for the "
        "patience gets a reservation, without knowing when jobs end. easy: EASY backfill, which is told when jobs "
        "end. Waits are in mean lifetimes of a job. Jobs of one slice, so that gangs are not measured."
    ),
    measure=_measure,
    quick="one mix instead of four, two disciplines instead of eight, 1 run instead of 8.",
    columns={
        "discipline": "who goes ahead of whom",
        "patience": "mean lifetimes until a waiting job gets a reservation",
        "reservations": "at once, at most",
        "mix": "which sizes are asked for how often",
        "load": "memory asked for ÷ memory there is",
        "runs": "independent runs",
        "longest_largest": "longest wait of a job of a whole GPU, the mean over the runs, in mean lifetimes",
        "longest": "longest wait of any job, likewise",
        "p95": "95th percentile of the waits, likewise",
        "mean": "mean wait, likewise",
        "utilisation": "share of the compute slices that is in use, over time",
        "wait_ratio": "longest_largest ÷ that of queue",
        "utilisation_lost": "utilisation of queue, less this one",
    },
)
