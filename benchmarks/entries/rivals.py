"""The benchmark `rivals` in words, and the sizes it is run with; what measures is `benchmarks.rivals`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import rivals

    if quick:
        return rivals.measure(20, 60, 1, loads=("mixed",), packing_nodes=1, progress=progress)
    return [
        *rivals.measure(100, 300, 5, progress=progress),
        *rivals.measure(1_000, 300, 3, progress=progress),
    ]


RIVALS = Benchmark(
    name="rivals",
    title="Beside counted slices and DRA",
    question="What does a user get who takes the DRA driver, or plain counts, instead?",
    method=(
        "Two genuine control planes of one version on one machine: one with slices as counts, one with ResourceSlices "
        "as NVIDIA's driver publishes them (made by hand: no driver runs) and DeviceClasses that serve the same "
        "resource names. Variants take turns, since a machine's speed drifts; ratios are medians of neighbouring runs. "
        "Pods of one slice are created at once; the clock runs to the last binding, 90 s at most. Packing: one burst "
        "of a quarter more than 4 empty nodes have, uniform over five profiles."
    ),
    measure=_measure,
    quick="20 nodes, 60 pods of one mix, once; packing on one node.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "load": "which slices the pods ask for",
        "variant": "who schedules",
        "pods": "created at once",
        "bound": "of them bound within 90 s, per run",
        "pods_per_s": "bound pods per second, per run",
        "stock_ratio": "÷ stock, median of neighbouring runs",
        "dra_ratio": "÷ dra, median of neighbouring runs",
        "cpu_ms_per_pod": "processor milliseconds per bound pod and process",
        "rss_mib": "resident MiB at the end of a run, by process",
        "packed": "share of the compute slices in use after the burst; none for counts, which may be illegal",
        "accepted": "pods bound of the burst",
        "offered": "pods of the burst",
    },
)
