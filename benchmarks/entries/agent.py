"""The benchmark `agent` in words, and the sizes it is run with; what measures is `benchmarks.agent`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import agent

    return agent.measure(1, 3.0, progress) if quick else agent.measure(progress=progress)


AGENT = Benchmark(
    name="agent",
    title="What the node agent costs a node",
    question="How long does a kubelet wait for Allocate, and what does the agent take from the node's workloads?",
    method=(
        "The real agent in a process of its own, 8 A100-40GB simulated behind an unmodified pynvml, a genuine API"
        " server, and a kubelet's device manager that asks over gRPC on Unix sockets, one Allocate right after "
        "the other. Own time is what the kubelet waited, less the time in which the driver was at work on the "
        "slice's GPU meanwhile. Slices are there (cut ahead for bound pods), or are cut in Allocate after what "
        "lies there was destroyed, or are there while the agent cuts slices on other GPUs, each taking the driver"
        " 0.3 s. Idle is with 56 slices in use and nothing happening; the simulated driver's own processor time "
        "is taken off."
    ),
    measure=_measure,
    quick="1 round instead of 4, idle for 3 s instead of 30.",
    columns={
        "what": "what is measured",
        "count": "Allocates",
        "p50_ms": "own time, median, milliseconds",
        "p99_ms": "own time, 99th percentile",
        "most_ms": "own time, longest",
        "waited_p99_ms": "what the kubelet waited, driver included, 99th percentile",
        "registered_s": "seconds from the process's start until the kubelet knows all resources, median of three",
        "reported_s": "seconds from the process's start until the MigNode is written, median of three",
        "cpu_percent": "processor time, percent of one core",
        "simulated_driver_percent": "the simulated driver's, not counted in it",
        "rss_mib": "resident memory, MiB",
        "peak_mib": "its peak, MiB",
    },
)
