"""The benchmark `crowd` in words, and the sizes it is run with; what measures is `benchmarks.crowd`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import crowd

    if quick:
        return crowd.measure(50, seconds=1.0, rounds=1, progress=progress)
    return crowd.measure(progress=progress)


CROWD = Benchmark(
    name="crowd",
    title="What hostile clients of the API cost the extender",
    question="Do filter calls get slower, do probes fail, does memory grow while clients of the API mean harm?",
    method=(
        "One service with a half-full cluster, its API served as shipped, with 1,024 descriptors. Blocks of filter "
        "calls alternate between quiet and each act. The acts run in a process of the lowest priority, from 100 "
        "addresses, and a client that is refused comes again at once. Times are the client's, over one connection, "
        "as kube-scheduler's are. A ratio is to the quiet blocks of the same run."
    ),
    measure=_measure,
    quick="50 nodes instead of 300; one round of one second instead of three of four.",
    columns={
        "meanwhile": "what hostile clients do",
        "nodes": "nodes of 8 GPUs",
        "calls": "filter calls measured",
        "p50_ms": "median of a filter call, milliseconds",
        "p99_ms": "99th percentile, milliseconds",
        "p50_ratio": "median ÷ that of the quiet blocks",
        "p99_ratio": "99th percentile ÷ that of the quiet blocks",
        "probes": "probes of /readyz, with the kubelet's default timeout of 1 s",
        "failed_probes": "probes that failed",
        "memory_mib": "most memory of service, gateway and planner together, MiB",
        "connections": "connections that the hostile clients had",
        "sent_mib": "what they sent as headers and bodies, MiB",
    },
)
