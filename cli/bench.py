"""`migsched bench …`: run the harness, show rows, judge them by benchmarks/ranges.toml, make the report.

Progress goes to standard error, so that `-o json` can be piped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from allocator import errors
from benchmarks import ranges, registry, results, suite
from benchmarks.benchmark import Benchmark, Progress
from benchmarks.registry import BENCHMARKS
from benchmarks.results import Results
from cli import bench_clusters, bench_page, bench_rows, bench_summary, checkout, output, progress
from cli.output import Format

RESULTS = Path("benchmarks/out/results.json")
REPORT = Path("benchmarks/out/report")

_NAMES = ", ".join(benchmark.name for benchmark in BENCHMARKS)

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measure what migsched promises.")
app.command()(bench_page.overview)
Form = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
Recorded = Annotated[Path, typer.Argument(help="A file of `migsched bench all`.", dir_okay=False)]


@app.command()
def extender(
    nodes: Annotated[list[int] | None, typer.Option(min=1, help="Cluster size; may be repeated.")] = None,
    cycles: Annotated[int, typer.Option(min=1, help="Scheduling cycles per size.")] = 400,
    form: Form = Format.TABLE,
) -> None:
    """Server time of filter and prioritize, beside a no-op route fed the same body.

    Example: migsched bench extender --nodes 1000 --nodes 5000 -o json
    """
    checkout.require_for_benchmarks("extender")
    from benchmarks import extender as extender_bench

    with progress.shown() as tell:
        rows = extender_bench.measure(nodes or extender_bench.SIZES, cycles, tell)
    bench_rows.show("extender", rows, form)


@app.command()
def answers(
    nodes: Annotated[int, typer.Option(min=1, help="Cluster size for explanations.")] = 5_000,
    pods: Annotated[int, typer.Option(min=1, help="Pods that are explained.")] = 20,
    form: Form = Format.TABLE,
) -> None:
    """How long people wait for an explanation, and for whether many pods fit together.

    Example: migsched bench answers --nodes 1000 -o json
    """
    checkout.require_for_benchmarks("answers")
    from benchmarks import answers as answers_bench

    with progress.shown() as tell:
        rows = answers_bench.measure(nodes, pods, tell)
    bench_rows.show("answers", rows, form)


@app.command()
def interference(
    nodes: Annotated[list[int] | None, typer.Option(min=1, help="Cluster size; may be repeated.")] = None,
    cycles: Annotated[int, typer.Option(min=1, help="Scheduling cycles per block.")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each kind, in turn.")] = 4,
    form: Form = Format.TABLE,
) -> None:
    """Server time of filter and prioritize while the planner is idle, and while it works without a pause.

    Example: migsched bench interference --nodes 1000 -o json
    """
    checkout.require_for_benchmarks("interference")
    from benchmarks import interference as interference_bench

    with progress.shown() as tell:
        rows = interference_bench.measure(nodes or interference_bench.SIZES, cycles, rounds, tell)
    bench_rows.show("interference", rows, form)


@app.command()
def crowd(
    nodes: Annotated[int, typer.Option(min=1, help="Cluster size.")] = 300,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds per block.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each kind, in turn.")] = 3,
    form: Form = Format.TABLE,
) -> None:
    """Time of a filter call while clients of the capacity API mean harm, and while they do not.

    Example: migsched bench crowd -o json
    """
    checkout.require_for_benchmarks("crowd")
    from benchmarks import crowd as crowd_bench

    with progress.shown() as tell:
        rows = crowd_bench.measure(nodes, seconds, rounds, progress=tell)
    bench_rows.show("crowd", rows, form)


@app.command()
def scheduler(
    nodes: Annotated[int, typer.Option(min=1, help="Fake nodes of 8 GPUs.")] = 1000,
    pods: Annotated[int, typer.Option(min=1, help="Pods per run, one 1g slice each.")] = 500,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each variant, in turn.")] = 3,
    shortlist: Annotated[int, typer.Option(min=1, help="Most nodes that filter answers with.")] = 10,
    filled: Annotated[bool, typer.Option("--filled", help="Fill the shortlist up with nodes that pack worse.")] = False,
    infeasible: Annotated[int, typer.Option(min=0, help="Pods that wait, refused, meanwhile.")] = 0,
    form: Form = Format.TABLE,
) -> None:
    """Pods per second of the real kube-scheduler with the extender, over the same without any.

    Example: migsched bench scheduler --nodes 1000 --pods 500 --runs 3 -o json
    """
    checkout.require_for_benchmarks("scheduler")
    from benchmarks import scheduler as scheduler_bench

    with progress.shown() as tell:
        rows = scheduler_bench.measure(
            nodes, pods, runs, shortlist=shortlist, filled=filled, infeasible=infeasible, progress=tell
        )
    bench_rows.show_one("scheduler", rows, form)


@app.command()
def agent(
    rounds: Annotated[int, typer.Option(min=1, help="Times that all 56 slices are allocated.")] = 4,
    idle: Annotated[float, typer.Option(min=1, help="Seconds to look at an idle agent.")] = 30,
    form: Form = Format.TABLE,
) -> None:
    """What the node agent costs a node: Allocate's own time, start, idle CPU, memory.

    Example: migsched bench agent -o json
    """
    checkout.require_for_benchmarks("agent")
    from benchmarks import agent as agent_bench  # gRPC is not needed by the others

    with progress.shown() as tell:
        rows = agent_bench.measure(rounds, idle, tell)
    bench_rows.show("agent", rows, form)


@app.command()
def sync(
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of 8 GPUs.")] = 5000,
    slices: Annotated[int, typer.Option(min=0, max=56, help="Bound one-slice pods per node.")] = 8,
    form: Form = Format.TABLE,
) -> None:
    """Time and memory of the service's first sync.

    Example: migsched bench sync --nodes 5000
    """
    checkout.require_for_benchmarks("sync")
    from benchmarks import sync as sync_bench

    with progress.shown() as tell:
        bench_rows.show_one("sync", sync_bench.measure(nodes, slices, tell), form)


@app.command()
def policies(
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs per row.")] = 12,
    load: Annotated[list[float] | None, typer.Option(help="Offered load; may be repeated.")] = None,
    form: Form = Format.TABLE,
) -> None:
    """Acceptance of every placement policy, beside values measured elsewhere.

    Example: migsched bench policies --seeds 12 --load 1.0
    """
    from benchmarks import policies as policies_bench  # the replay engine is not needed by the others

    with progress.shown() as tell:
        rows = policies_bench.rows(seeds=seeds, loads=load or (1.0, 0.85), progress=tell)
    bench_rows.show("policies", rows, form)


@app.command()
def fragmentation(
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs per row.")] = 20,
    form: Form = Format.TABLE,
) -> None:
    """Memory that is free and useless while a fleet fills and lives, per policy.

    Example: migsched bench fragmentation --seeds 4 -o json
    """
    from benchmarks import fragmentation as fragmentation_bench

    with progress.shown() as tell:
        rows = fragmentation_bench.measure(seeds, progress=tell)
    bench_rows.show("fragmentation", rows, form)


@app.command()
def queue(
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs per row.")] = 8,
    form: Form = Format.TABLE,
) -> None:
    """How long the largest pods wait behind small ones, by discipline, and what reservations cost.

    Example: migsched bench queue --seeds 2 -o json
    """
    from benchmarks import queueing as queueing_bench

    with progress.shown() as tell:
        rows = queueing_bench.measure(seeds, progress=tell)
    bench_rows.show("queue", rows, form)


app.command()(bench_clusters.rivals)
app.command()(bench_clusters.moves)


@app.command()
def cycle(
    nodes: Annotated[
        list[int] | None, typer.Option(min=1, help="Nodes of 8 GPUs; several times for several sizes.")
    ] = None,
    queued: Annotated[int, typer.Option(min=0, help="Pods that wait and fit nowhere.")] = 10_000,
    form: Form = Format.TABLE,
) -> None:
    """What a cycle of the queue costs, and what the queue takes of memory, as the cluster grows.

    Example: migsched bench cycle --nodes 1000 -o json
    """
    checkout.require_for_benchmarks("cycle")
    from benchmarks import cycles

    with progress.shown() as tell:
        rows = cycles.measure(nodes or cycles.NODES, queued, progress=tell)
    bench_rows.show("cycle", rows, form)


@app.command()
def decisions(
    model: Annotated[list[str] | None, typer.Option(help="GPU model; may be repeated.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Simulations per row; their median counts.")] = 5,
    form: Form = Format.TABLE,
) -> None:
    """Processor time of one decision, per policy and GPU model.

    Example: migsched bench decisions --model a100-40gb
    """
    from benchmarks import decisions as decisions_bench

    with progress.shown() as tell:
        rows = decisions_bench.measure(model, progress=tell, runs=runs)
    bench_rows.show("decisions", rows, form)


@app.command()
def planning(
    seeds: Annotated[int, typer.Option(min=1, help="Random demands per row.")] = 12,
    form: Form = Format.TABLE,
) -> None:
    """Exact plans beside first fit decreasing and the LP bound; the cost of repacks.

    Example: migsched bench planning --seeds 4
    """
    from benchmarks import planning as planning_bench  # OR-Tools is slow to load

    with progress.shown() as tell:
        rows = planning_bench.measure(seeds, progress=tell)
    bench_rows.show("planning", rows, form)


@app.command()
def repacking(
    instances: Annotated[int, typer.Option(min=1, help="Random fleets per size.")] = 100,
    form: Form = Format.TABLE,
) -> None:
    """Repacks of small fleets beside the cheapest there is, found by trying everything.

    Example: migsched bench repacking --instances 20
    """
    from benchmarks import repacking as repacking_bench

    with progress.shown() as tell:
        rows = repacking_bench.measure(instances, progress=tell)
    bench_rows.show("repacking", rows, form)


@app.command(name="all")
def everything(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, few runs: whether it works, not how well. Minutes.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this benchmark; may be repeated: " + _NAMES),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Keep the file's other parts.")] = False,
    file: Annotated[Path, typer.Option("--results", help="Where results are kept.", dir_okay=False)] = RESULTS,
    form: Form = Format.TABLE,
) -> None:
    """Run all of it, keep what was measured, and judge it. Exit code 1 if a bound is broken or a part fails.

    Example: migsched bench all --quick
    """
    measure_and_judge(registry.find(only or ()), quick=quick, update=update, file=file, form=form)


def measure_and_judge(chosen: Sequence[Benchmark], *, quick: bool, update: bool, file: Path, form: Form) -> None:
    """Run these benchmarks, keep the results in the file, show and judge them. Exits with 1 where one falls short."""
    checkout.require_for_benchmarks(*(part.name for part in chosen))
    known = results.read(file) if update and file.exists() else None
    if known is not None and known.quick != quick:
        raise errors.SettingsError("update", str(file), "quick results and full ones do not go into one file")
    with progress.shown() as tell:
        recorded = suite.run(
            chosen,
            ranges.load(),
            quick=quick,
            progress=tell,
            save=lambda so_far: results.write(so_far, file),
            earlier=known,
        )
        _say_what_is_left_out(recorded, chosen, tell)
    _verdicts(recorded, form)


@app.command()
def judge(
    file: Recorded = RESULTS,
    save: Annotated[bool, typer.Option("--save", help="Keep the verdicts in the file.")] = False,
    form: Form = Format.TABLE,
) -> None:
    """Judge recorded results by the bounds as they are now. Exit code 1 if one is broken or a part failed.

    Example: migsched bench judge benchmarks/out/results.json
    """
    recorded = results.read(file)
    suite.judge(recorded, ranges.load())
    if save:
        results.write(recorded, file)
    _verdicts(recorded, form)


@app.command()
def report(
    file: Recorded = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder for report.html and the plots.", file_okay=False)] = REPORT,
) -> None:
    """Make the report of recorded results: report.html, complete in itself, and its plots as SVG and PNG.

    Example: migsched bench report benchmarks/results/full.json --out report
    """
    recorded = results.read(file)
    try:
        from benchmarks.report import page  # drawing libraries are an extra, and slow to load
    except ImportError as error:
        raise errors.MigschedError(
            f"`migsched bench report` draws with matplotlib and jinja2, and {error.name} is missing; install both "
            "into the environment of migsched (its extra `report`)"
        ) from error
    try:
        written = page.write(recorded, out)
    except OSError as error:
        raise errors.SettingsError("out", str(out), f"name a folder that can be written ({error.strerror})") from error
    typer.echo(f"{written[0]} and {len(written) - 1} plots")


def _say_what_is_left_out(recorded: Results, chosen: Sequence[Benchmark], tell: Progress) -> None:
    if recorded.quick:
        tell("This was a quick run. It left out:")
        for part in chosen:
            tell(f"  {part.name}: {part.quick}")
    absent = [benchmark.name for benchmark in BENCHMARKS if benchmark.name not in recorded.parts]
    if absent:
        tell("Not run: " + ", ".join(absent))


def _verdicts(recorded: Results, form: Format) -> None:
    """Print what became of the bounds of the parts that were run, and exit accordingly."""
    judged = [verdict for verdict in recorded.verdicts if verdict.measure in recorded.parts]
    failed = {name: part.failed for name, part in recorded.parts.items() if part.failed}
    document = {"verdicts": [msgspec.to_builtins(verdict) for verdict in judged], "failed": failed}
    output.show(form, lambda: document, lambda: bench_summary.of(recorded, judged))
    for name, why in failed.items():
        typer.echo(f"migsched: {name} failed: {why}", err=True)
    if failed or any(verdict.ok is False for verdict in judged):
        raise typer.Exit(1)
