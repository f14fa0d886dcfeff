"""The benchmark `moves` in words, and the sizes it is run with; what measures is `benchmarks.moves`."""

from benchmarks.benchmark import Benchmark, Progress, Rows


def _measure(quick: bool, progress: Progress) -> Rows:
    from benchmarks import moves

    if quick:
        return moves.measure(1, 10, nodes=4, pods=60, runs=1, progress=progress)
    return moves.measure(5, 60, progress=progress)


MOVES = Benchmark(
    name="moves",
    title="Moves carried out",
    question="What do moves add on a real kube-scheduler, how long do they take, and are other pods held up?",
    method=(
        "A genuine control plane with a stock kube-scheduler, the queue and moves; kubelets and agents are simulated. "
        "Jobs of the bimodal mix at load 1.0 are offered one after the other to 8 A100-40GB, each a ReplicaSet of one "
        "pod. One that finds no room gets a Repack of so many moves at most; without a plan it is lost. 20 jobs fill "
        "the GPUs and are not counted. `simulated` is the replay with the same jobs and moves. Throughput: bursts of "
        "300 pods on 20 nodes, in turn without moves and while 6 pods are moved to and fro on two others, one at a "
        "time, which is the default; the ratio is the median of neighbouring runs."
    ),
    measure=_measure,
    quick="1 run of 10 jobs instead of 5 of 60, one burst of 60 pods on 4 nodes.",
    columns={
        "what": "how many moves a refused pod may get, or the throughput",
        "runs": "independent runs, or pairs of bursts",
        "jobs": "counted jobs over all runs",
        "acceptance": "share of them that got to run",
        "gain": "acceptance, less that without moves",
        "simulated": "the same in the replay",
        "difference": "between the two",
        "served_by_moves": "jobs that run because others were moved",
        "restarts_per_served": "pods restarted for each of those",
        "fix_p50_s": "seconds from the Repack to the job's pod in phase Running, median",
        "fix_longest_s": "the longest of these",
        "pods_per_s": "pods bound per second without moves, median",
        "pods_per_s_moving": "the same while moves go on",
        "throughput_ratio": "with moves ÷ without, median of neighbouring runs",
        "moves_made": "moves that were made during the bursts",
    },
)
