"""The benchmark `scheduler` in words, and the sizes it is run with; what measures is `benchmarks.scheduler`."""

from typing import Any

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import scheduler

    if quick:
        return [scheduler.measure(50, 100, 1, progress=progress)]
    settings: list[dict[str, Any]] = [
        {"nodes": 100, "pods": 500, "runs": 9},
        {"nodes": 1_000, "pods": 500, "runs": 9},
        {"nodes": 5_000, "pods": 300, "runs": 5},
        {"nodes": 15_000, "pods": 200, "runs": 3},
        {"nodes": 1_000, "pods": 500, "runs": 3, "shortlist": 1},
        *({"nodes": 1_000, "pods": 500, "runs": 3, "filled": True, "shortlist": k} for k in (10, 1_000)),
        *({"nodes": 1_000, "pods": 300, "runs": 2, "infeasible": n} for n in (100, 500)),
    ]
    return [scheduler.measure(**setting, progress=progress) for setting in settings]


SCHEDULER = Benchmark(
    name="scheduler",
    title="Pods per second of the real kube-scheduler",
    question="What does kube-scheduler lose by having the extender?",
    method=(
        "The genuine kube-scheduler, kube-apiserver and etcd on one machine. Pods with one slice are created at "
        "once; the clock runs from the first creation to the last binding. Runs with the extender, without it "
        "(the shipped profile, which looks at all nodes), of a stock kube-scheduler (its own defaults, which look "
        "at a sample of more than 100 nodes) and of that one with the queue before it alternate on the same control "
        "plane, since a machine's speed drifts; "
        "ratios are medians of neighbouring runs."
    ),
    measure=_measure,
    quick="50 nodes and 100 pods, once.",
    columns={
        "nodes": "nodes of 8 GPUs",
        "shortlist": "nodes that filter answers with",
        "filled": "whether the shortlist is filled up with worse nodes",
        "infeasible": "pods that wait, refused, meanwhile",
        "stock": "pods per second of a kube-scheduler with its own defaults, per run",
        "plain": "pods per second of the shipped profile without the extender, per run",
        "extender": "pods per second with it, per run",
        "ratios": "with ÷ without, of each two neighbouring runs",
        "ratio": "their median",
        "stock_ratios": "with ÷ stock, of each two neighbouring runs",
        "stock_ratio": "their median",
        "queue": "pods per second of the stock kube-scheduler with the queue before it, per run",
        "queue_ratios": "queue ÷ stock, of each two neighbouring runs",
        "queue_ratio": "their median",
        "cpu_ms_per_pod": "processor milliseconds per pod and process",
    },
)
