"""The benchmark `sync` in words, and the sizes it is run with; what measures is `benchmarks.sync`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import sync

    return [sync.measure(200 if quick else 5_000, progress=progress)]


SYNC = Benchmark(
    name="sync",
    title="Start of the service",
    question="How long does the service need until it knows a large cluster, and how much memory?",
    method=(
        "A static API server with fixed pages, so that only the service is measured, from its start until it is ready."
    ),
    measure=_measure,
    quick="200 nodes instead of 5,000.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "pods": "bound pods",
        "seconds": "until ready",
        "cpu_s": "processor time until ready, seconds",
        "rss_mib": "memory when ready, MiB",
        "peak_mib": "largest memory on the way, MiB",
    },
)
