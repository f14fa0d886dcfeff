"""The benchmark `cycle` in words, and the sizes it is run with; what measures is `benchmarks.cycles`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import cycles

    return cycles.measure((100,), 500, progress) if quick else cycles.measure(progress=progress)


CYCLE = Benchmark(
    name="cycle",
    title="What a cycle of the queue costs",
    question="How does the queue grow with the nodes, when many pods wait?",
    method=(
        "The real cache and cycle in a process of its own, over nodes of 8 GPUs half full of random pods. The queued "
        "pods are of 500 kinds and 50 namespaces and fit nowhere; then come 500 that fit. The API server is in memory, "
        "and its work is in the last row of each size."
    ),
    measure=_measure,
    quick="100 nodes instead of 1,000, 5,000 and 15,000; 500 queued pods instead of 10,000.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "queued": "pods in the queue that fit nowhere",
        "what": "what has happened since the cycle before",
        "cpu_ms": "processor time of the cycle, milliseconds",
        "longest_step_ms": "longest time for which filter and bind would have waited, milliseconds",
        "rss_mib": "memory of the process at the end, MiB",
        "rss_before_pods_mib": "memory of the process before there were pods, MiB",
    },
)
