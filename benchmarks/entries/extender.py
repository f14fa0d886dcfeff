"""The benchmark `extender` in words, and the sizes it is run with; what measures is `benchmarks.extender`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import extender

    return extender.measure((100, 1_000), 50, progress) if quick else extender.measure(progress=progress)


EXTENDER = Benchmark(
    name="extender",
    title="What the extender adds to a scheduling cycle",
    question="How long do filter and prioritize take at 5,000 nodes?",
    method=(
        "The real application in a process of its own, nodes of 8 GPUs half full of random pods, realistic bodies"
        " with all node names in random order. Times are measured inside the server around each call; the no-op "
        "is a route that reads the same body and does nothing."
    ),
    measure=_measure,
    quick="100 and 1,000 nodes instead of 100, 1,000 and 5,000; 50 cycles instead of 400.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "verb": "call; cycle is filter + prioritize of one pod",
        "p50_ms": "median, milliseconds",
        "p99_ms": "99th percentile, milliseconds",
        "noop_p50_ms": "median of the no-op, milliseconds",
    },
)
