"""Parts: what `migsched bench all` consists of, each with the words that explain it in a report.

A part answers one question by rows, which are plain JSON types with one meaning per column. `suite` runs them,
`ranges` judges their rows by the part's name, the report shows them. A new benchmark is an entry here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[str], None]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Part:
    """One benchmark. `measure(quick, progress)` gives its rows.

    `question` and `method` are for readers who do not know the code; `columns` says what the fields of a row mean,
    with their units. `quick` says what a quick run leaves out.
    """

    name: str
    title: str
    question: str
    method: str
    measure: Callable[[bool, Progress], Rows]
    quick: str
    columns: Mapping[str, str] = field(default_factory=dict)


def _policies(quick: bool, progress: Progress) -> Rows:
    from benchmarks import policies  # parts are listed without loading what they measure

    if quick:
        return policies.rows(policies.FIVE_PROFILES, seeds=3, loads=(1.0,), progress=progress)
    five = policies.rows(policies.FIVE_PROFILES, seeds=60, progress=progress)
    return [*five, *policies.rows(policies.SIX_PROFILES, seeds=20, loads=(1.0,), progress=progress)]


def _fragmentation(quick: bool, progress: Progress) -> Rows:
    from benchmarks import fragmentation

    if quick:
        return fragmentation.measure(2, ("uniform",), progress=progress)
    return fragmentation.measure(progress=progress)


def _decisions(quick: bool, progress: Progress) -> Rows:
    from benchmarks import decisions

    return decisions.measure(models=("a100-40gb",) if quick else None, progress=progress)


def _planning(quick: bool, progress: Progress) -> Rows:
    from benchmarks import planning

    return planning.measure(12, (8,), progress, large=1) if quick else planning.measure(12, progress=progress)


def _repacking(quick: bool, progress: Progress) -> Rows:
    from benchmarks import repacking

    return repacking.measure(instances=10 if quick else 100, progress=progress)


def _extender(quick: bool, progress: Progress) -> Rows:
    from benchmarks import extender

    return extender.measure((100, 1_000), 50, progress) if quick else extender.measure(progress=progress)


def _interference(quick: bool, progress: Progress) -> Rows:
    from benchmarks import interference

    if quick:
        return interference.measure((100,), cycles=30, rounds=1, progress=progress)
    return interference.measure(progress=progress)


def _sync(quick: bool, progress: Progress) -> Rows:
    from benchmarks import sync

    return [sync.measure(200 if quick else 5_000, progress=progress)]


def _agent(quick: bool, progress: Progress) -> Rows:
    from benchmarks import agent

    return agent.measure(1, 3.0, progress) if quick else agent.measure(progress=progress)


def _scheduler(quick: bool, progress: Progress) -> Rows:
    from benchmarks import scheduler

    if quick:
        return [scheduler.measure(50, 100, 1, progress=progress)]
    settings: list[dict[str, Any]] = [
        {"nodes": 1_000, "pods": 500, "runs": 9},
        {"nodes": 5_000, "pods": 300, "runs": 5},
        {"nodes": 1_000, "pods": 500, "runs": 3, "shortlist": 1},
        *({"nodes": 1_000, "pods": 500, "runs": 3, "filled": True, "shortlist": k} for k in (10, 1_000)),
        *({"nodes": 1_000, "pods": 300, "runs": 2, "infeasible": n} for n in (100, 500)),
    ]
    return [scheduler.measure(**setting, progress=progress) for setting in settings]


PARTS = (
    Part(
        "policies",
        "Where slices go: acceptance of every policy",
        "Of the compute asked for, how much does each placement policy accept, and what do moves add?",
        "100 GPUs. Jobs arrive at random (Poisson), ask for one slice, run for a random time (exponential) and are "
        "lost if they do not fit. The load is in memory: at 1.0 exactly as much is offered as there is. The first 8 "
        "mean lifetimes fill the GPUs and are not counted; arrivals stop at 40. Every policy gets the same jobs. "
        "Values are means over independent runs with their 95 % interval (Student's t). References are an "
        "independent simulator's; they too have an interval, so a difference counts only beyond that of the "
        "difference.",
        _policies,
        "3 runs instead of 60, load 1.0 only, five profiles only: intervals are several times wider.",
        {
            "profiles": "number of profiles that are asked for",
            "contender": "policy, with what it knows beforehand and how many moves it may make per refused request",
            "mix": "which sizes are asked for how often",
            "load": "memory asked for ÷ memory there is",
            "runs": "independent runs",
            "gpc_acceptance": "share of the compute slices asked for that was accepted",
            "gpc_ci95": "half width of its 95 % interval",
            "count_acceptance": "share of the jobs that was accepted",
            "moves_per_1000": "slices moved per 1,000 accepted jobs",
            "stranded_share": "share of the memory that is free where no profile asked for can use it, over time",
        },
    ),
    Part(
        "fragmentation",
        "Fragmentation over time",
        "How much memory becomes free but useless while a fleet fills and lives?",
        "The same simulation from empty GPUs on, at load 1.0, nothing left out. Stranded is memory that is free where "
        "no profile of the mix can use it. Unusable is memory that is free where a request cannot use it, averaged "
        "over the requests, each by the memory it asks for: who spreads small slices over all GPUs strands nothing, but"
        " has no room for anything large. Means over independent runs.",
        _fragmentation,
        "one mix instead of four, 2 runs instead of 20.",
        {
            "contender": "policy, with how many moves it may make per refused request",
            "mix": "which sizes are asked for how often",
            "runs": "independent runs",
            "lifetimes": "moments, in mean lifetimes of a job since the start",
            "stranded": "share of memory free where no profile asked for can use it, means up to each moment",
            "unusable": "share of memory that is free where a request cannot use it, averaged over all requests",
        },
    ),
    Part(
        "decisions",
        "What a decision costs",
        "How many placements per second does one core decide, under each policy and on each GPU model?",
        "The simulation at load 1.0, uniform mix, 100 GPUs, on one core: processor time of a whole run, generating "
        "jobs and ending them included, divided by the jobs decided; the median of several runs. Tables are what is "
        "computed once per GPU model and policy before the first decision.",
        _decisions,
        "one GPU model instead of all.",
        {
            "model": "GPU model",
            "contender": "policy, with how many moves it may make per refused request",
            "states": "states that one GPU of the model can be in",
            "tables_ms": "milliseconds to compute the tables, once",
            "us_per_decision": "microseconds of processor time per job decided",
            "placements_per_s": "jobs placed per second of processor time",
        },
    ),
    Part(
        "planning",
        "Capacity plans: how many GPUs a demand needs",
        "Is a plan the best there is, how much do simpler rules waste, and how long does it take?",
        "Random demands of 100 and 1,000 slices. The optimum is not taken from the planner's word: no plan can have "
        "fewer GPUs than the linear program over all ways to cut a GPU, rounded up. First fit decreasing sorts the "
        "demand by size; online first fit takes it as it comes. Then 10,000 slices over three GPU models with 200 "
        "GPUs that are already cut. Then repacks of random fleets, with the gap to the optimum that each states.",
        _planning,
        "one large demand instead of four; repacks of 8 GPUs only.",
        {
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
    ),
    Part(
        "repacking",
        "Repacks beside an exhaustive search",
        "Does a repack ever cost more than the cheapest one there is?",
        "Random fleets of 2, 3 and 4 GPUs with pods that may and may not move, each asked for room that it does not "
        "have. A search of every sequence of moves finds the cheapest. Beside it: the planner behind migsched "
        "repack, and the quick rule that clears one window by moving at most four slices.",
        _repacking,
        "10 fleets per size instead of 100.",
        {
            "gpus": "GPUs of the fleet",
            "method": "planner, or one window",
            "instances": "fleets asked",
            "solvable": "of them, those with a repack at all",
            "worse": "repacks that cost more than the cheapest",
            "undecided": "fleets too large for the exhaustive search, which do not count",
            "missed": "refusals, or no answer, where there is a repack",
            "below": "repacks that cost less than any legal sequence of moves does: they are none",
            "gaps": "cost over the cheapest in compute slices → number of fleets",
            "seconds": "time per fleet, slowest",
        },
    ),
    Part(
        "extender",
        "What the extender adds to a scheduling cycle",
        "How long do filter and prioritize take at 5,000 nodes?",
        "The real application in a process of its own, nodes of 8 GPUs half full of random pods, realistic bodies "
        "with all node names in random order. Times are measured inside the server around each call; the no-op is a "
        "route that reads the same body and does nothing.",
        _extender,
        "100 and 1,000 nodes instead of 100, 1,000 and 5,000; 50 cycles instead of 400.",
        {
            "nodes": "nodes of 8 GPUs",
            "verb": "call; cycle is filter + prioritize of one pod",
            "p50_ms": "median, milliseconds",
            "p99_ms": "99th percentile, milliseconds",
            "noop_p50_ms": "median of the no-op, milliseconds",
        },
    ),
    Part(
        "interference",
        "What a long plan costs the extender",
        "Do filter and prioritize get slower while the planner works?",
        "One service with a half-full cluster, its planner as shipped: one process of the lowest priority. Blocks of "
        "scheduling cycles alternate between an idle planner, one that is asked for plan after plan of 10,000 slices "
        "over three GPU models with 200 GPUs that are already cut, and one that is asked what the whole cluster "
        "has room for, again and again. Times are measured inside the server around each call. A ratio is to the idle "
        "planner's in the same run; it means something only if the planner got a processor meanwhile, which is shown.",
        _interference,
        "100 nodes instead of 1,000 and 5,000; one round of 30 cycles instead of four of 300.",
        {
            "nodes": "nodes of 8 GPUs",
            "meanwhile": "what the planner is asked",
            "cycles": "scheduling cycles measured",
            "p50_ms": "median of filter + prioritize, milliseconds",
            "p99_ms": "99th percentile, milliseconds",
            "p50_ratio": "median ÷ that with an idle planner",
            "p99_ratio": "99th percentile ÷ that with an idle planner",
            "planner_cpu": "share of one processor that the planner got",
            "answers": "questions answered",
        },
    ),
    Part(
        "sync",
        "Start of the service",
        "How long does the service need until it knows a large cluster, and how much memory?",
        "A static API server with fixed pages, so that only the service is measured, from its start until it is ready.",
        _sync,
        "200 nodes instead of 5,000.",
        {
            "nodes": "nodes of 8 GPUs",
            "pods": "bound pods",
            "seconds": "until ready",
            "cpu_s": "processor time until ready, seconds",
            "rss_mib": "memory when ready, MiB",
            "peak_mib": "largest memory on the way, MiB",
        },
    ),
    Part(
        "agent",
        "What the node agent costs a node",
        "How long does a kubelet wait for Allocate, and what does the agent take from the node's workloads?",
        "The real agent in a process of its own, 8 A100-40GB simulated behind an unmodified pynvml, a genuine API "
        "server, and a kubelet's device manager that asks over gRPC on Unix sockets, one Allocate right after the "
        "other. Own time is what the kubelet waited, less the time in which the driver was at work on the slice's GPU "
        "meanwhile. Slices are there (cut ahead for bound pods), or are cut in Allocate after what lies there was "
        "destroyed, or are there while the agent cuts slices on other GPUs, each taking the driver 0.3 s. Idle is with "
        "56 slices in use and nothing happening; the simulated driver's own processor time is taken off.",
        _agent,
        "1 round instead of 4, idle for 3 s instead of 30.",
        {
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
    ),
    Part(
        "scheduler",
        "Pods per second of the real kube-scheduler",
        "What does kube-scheduler lose by having the extender?",
        "The genuine kube-scheduler, kube-apiserver and etcd on one machine. Pods with one slice are created at "
        "once; the clock runs from the first creation to the last binding. Runs with and without the extender "
        "alternate on the same control plane, since a machine's speed drifts; the ratio is the median of "
        "neighbouring runs.",
        _scheduler,
        "50 nodes and 100 pods, once.",
        {
            "nodes": "nodes of 8 GPUs",
            "shortlist": "nodes that filter answers with",
            "filled": "whether the shortlist is filled up with worse nodes",
            "infeasible": "pods that wait, refused, meanwhile",
            "plain": "pods per second without the extender, per run",
            "extender": "pods per second with it, per run",
            "ratios": "with ÷ without, of each two neighbouring runs",
            "ratio": "their median",
            "cpu_ms_per_pod": "processor milliseconds per pod and process",
        },
    ),
)


def find(names: Sequence[str]) -> Sequence[Part]:
    """The parts of these names, in the order of PARTS; all of them for none. Raises SettingsError for a stranger."""
    from allocator import errors

    by_name = {part.name: part for part in PARTS}
    for name in names:
        if name not in by_name:
            raise errors.SettingsError("only", name, "use one of " + ", ".join(by_name))
    return tuple(part for part in PARTS if not names or part.name in names)
