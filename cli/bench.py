"""`migsched bench …`: run the harness, show rows, judge them by benchmarks/ranges.toml.

Progress goes to standard error, so that `-o json` can be piped.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table

from benchmarks import extender as extender_bench
from benchmarks import ranges
from benchmarks import scheduler as scheduler_bench
from benchmarks import sync as sync_bench
from cli import output
from cli.output import Format

RESULTS = Path("benchmarks/out/results.json")

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measure what migsched promises.")
Form = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


@app.command()
def extender(
    nodes: Annotated[list[int] | None, typer.Option(help="Cluster size; may be repeated.")] = None,
    cycles: Annotated[int, typer.Option(min=1, help="Scheduling cycles per size.")] = 400,
    form: Form = Format.TABLE,
) -> None:
    """Server time of filter and prioritize, beside a no-op route fed the same body.

    Example: migsched bench extender --nodes 1000 --nodes 5000 -o json
    """
    rows = extender_bench.measure(nodes or extender_bench.SIZES, cycles, _progress)
    output.show(form, lambda: {"rows": rows}, lambda: _table(rows))


@app.command()
def scheduler(
    nodes: Annotated[int, typer.Option(min=1, help="Fake nodes of 8 GPUs.")] = 1000,
    pods: Annotated[int, typer.Option(min=1, help="Pods per run, one 1g slice each.")] = 500,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each variant, in turn.")] = 3,
    shortlist: Annotated[int, typer.Option(min=1, help="Nodes that filter answers with.")] = 10,
    infeasible: Annotated[int, typer.Option(min=0, help="Pods that wait, refused, meanwhile.")] = 0,
    form: Form = Format.TABLE,
) -> None:
    """Pods per second of the real kube-scheduler with the extender, over the same without any.

    Example: migsched bench scheduler --nodes 1000 --pods 500 --runs 3 -o json
    """
    found = scheduler_bench.measure(nodes, pods, runs, shortlist=shortlist, infeasible=infeasible, progress=_progress)
    output.show(form, lambda: found, lambda: _table([found]))


@app.command()
def sync(
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of 8 GPUs.")] = 5000,
    slices: Annotated[int, typer.Option(min=0, max=56, help="Bound one-slice pods per node.")] = 8,
    form: Form = Format.TABLE,
) -> None:
    """Time and memory of the service's first sync.

    Example: migsched bench sync --nodes 5000
    """
    row = sync_bench.measure(nodes, slices, _progress)
    output.show(form, lambda: row, lambda: _table([row]))


@app.command()
def policies(
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs per row.")] = 12,
    load: Annotated[list[float] | None, typer.Option(help="Offered load; may be repeated.")] = None,
    form: Form = Format.TABLE,
) -> None:
    """Acceptance of every placement policy, beside published values.

    Example: migsched bench policies --seeds 12 --load 1.0
    """
    from benchmarks import policies as policies_bench  # the replay engine is not needed by the others

    rows = policies_bench.measure(
        seeds=seeds, loads=load or (1.0, 0.85), progress=lambda share: _progress(f"policies: {share:.0%}")
    )
    documents = [dataclasses.asdict(row) | {"agrees": row.agrees} for row in rows]
    output.show(form, lambda: {"rows": documents}, lambda: _table(documents))


@app.command()
def planning(
    seeds: Annotated[int, typer.Option(min=1, help="Random demands per row.")] = 12,
    form: Form = Format.TABLE,
) -> None:
    """Exact plans beside first fit decreasing and the LP bound; the cost of repacks.

    Example: migsched bench planning --seeds 4
    """
    from benchmarks import planning as planning_bench  # OR-Tools is slow to load

    rows = planning_bench.measure(seeds, progress=_progress)
    output.show(form, lambda: {"rows": rows}, lambda: _table(rows))


@app.command(name="all")
def everything(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, one run: whether it works, not how fast.")
    ] = False,
    form: Form = Format.TABLE,
) -> None:
    """Run all of it, keep the rows in benchmarks/out/results.json, and judge them. Exit code 1 if a bound is broken.

    Example: migsched bench all
    """
    measured = _measured(quick)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    verdicts = ranges.judge(ranges.load(), measured)
    rows = [
        {
            "measure": v.range.measure,
            "where": " ".join(f"{k}={value}" for k, value in v.range.where),
            "field": v.range.field,
            "bound": f"≥ {v.range.least}" if v.range.least is not None else f"≤ {v.range.most}",
            "value": v.value,
            "ok": "not measured" if v.value is None else ("yes" if v.ok else "NO"),
        }
        for v in verdicts
    ]
    output.show(form, lambda: {"measured": measured, "verdicts": rows}, lambda: _table(rows))
    if not all(v.ok for v in verdicts):
        raise typer.Exit(1)


def _measured(quick: bool) -> dict[str, Sequence[Mapping[str, Any]]]:
    sizes = (100, 1_000) if quick else extender_bench.SIZES
    fleets = ((50, 100, 1),) if quick else ((1_000, 500, 5), (5_000, 300, 3))
    wanted = [{"nodes": n, "pods": p, "runs": r} for n, p, r in fleets]
    if not quick:
        wanted += [{"nodes": 1_000, "pods": 500, "runs": 3, "shortlist": k} for k in (1, 1_000)]
        wanted += [{"nodes": 1_000, "pods": 300, "runs": 2, "infeasible": n} for n in (100, 500)]
    scheduling = [scheduler_bench.measure(**one, progress=_progress) for one in wanted]
    from benchmarks import planning as planning_bench  # OR-Tools is slow to load

    return {
        "planning": planning_bench.measure(1 if quick else 12, (8,) if quick else (8, 80), progress=_progress),
        "extender": extender_bench.measure(sizes, 50 if quick else 400, _progress),
        "sync": [sync_bench.measure(200 if quick else 5_000, progress=_progress)],
        "scheduler": scheduling,
    }


def _progress(message: str) -> None:
    Console(stderr=True, highlight=False).print(message, style="dim")
    sys.stderr.flush()


def _table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(box=None, pad_edge=False)
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_cell(one)}" for key, one in value.items())
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return "–" if value is None else str(value)
