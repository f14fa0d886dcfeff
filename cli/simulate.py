"""`migsched simulate`: replay a trace or a generated workload against a placement policy."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import replay
from cli import output
from cli.output import Format
from replay import Backend, Discipline, RunConfig

_DEFAULT = RunConfig()


def simulate(
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV: id,arrival_s,profile,duration_s and optional priority,movable,alternatives."),
    ] = None,
    mix: Annotated[
        str, typer.Option(help="uniform, skew-small, skew-big, bimodal, or a YAML file of profile: weight.")
    ] = "uniform",
    load: Annotated[float, typer.Option(help="Offered load, in memory slices over capacity.")] = _DEFAULT.load,
    gpus: Annotated[int, typer.Option(help="GPUs of the fleet.")] = _DEFAULT.gpus,
    model: Annotated[str, typer.Option(help="GPU model.")] = _DEFAULT.model,
    policy: Annotated[str, typer.Option(help="Placement policy.")] = _DEFAULT.policy,
    moves: Annotated[int, typer.Option(help="Slices that may be moved for one otherwise refused request.")] = 0,
    discipline: Annotated[
        Discipline, typer.Option(help="What becomes of a job that does not fit.")
    ] = Discipline.REJECT,
    seeds: Annotated[int, typer.Option(help="Independent runs.")] = _DEFAULT.seeds,
    first_seed: Annotated[int, typer.Option(help="Seed of the first run.")] = 0,
    backend: Annotated[Backend, typer.Option(help="Where runs are computed.")] = Backend.LOCAL,
    workers: Annotated[int | None, typer.Option(help="Local processes; without it, one per processor.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, for --backend dask.")] = None,
    restart: Annotated[float, typer.Option(help="Seconds that a moved job loses.")] = 0.0,
    lifetime_error: Annotated[float, typer.Option(help="Spread of what mfi-lifetime believes; 0 knows.")] = 0.0,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Replay a workload on simulated GPUs and report acceptance, waits and moves with 95 % intervals.

    Example: migsched simulate --mix skew-small --load 1.0 --policy mfi --moves 1 --seeds 4
    """
    config = RunConfig(
        trace=None if trace is None else str(trace),
        mix=mix,
        load=load,
        gpus=gpus,
        model=model,
        policy=policy,
        moves=moves,
        discipline=discipline,
        seeds=seeds,
        first_seed=first_seed,
        backend=backend,
        workers=workers,
        scheduler=scheduler,
        restart_s=restart,
        lifetime_error=lifetime_error,
    )
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulating", total=1.0)
        answer = replay.run(config, lambda share: bar.update(task, completed=share))
    output.show(form, lambda: answer, lambda: _table(answer))


def _table(answer: dict[str, Any]) -> RenderableType:
    fleet = f"{answer['gpus']} × {answer['model']}"
    head = f"{answer['policy']}, {answer['moves']} moves, {fleet}, {len(answer['seeds'])} runs"
    metrics = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("METRIC", "MEAN", "± 95 %"):
        metrics.add_column(column, justify="left" if column == "METRIC" else "right")
    for name, one in answer["metrics"].items():
        metrics.add_row(name, _number(one["mean"]), _number(one["ci95"]))
    profiles = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("PROFILE", "OFFERED", "ACCEPTED", "SHARE"):
        profiles.add_column(column, justify="left" if column == "PROFILE" else "right")
    for name, one in answer["per_profile"].items():
        share = f"{one['accepted'] / one['offered']:.3f}" if one["offered"] else "–"
        profiles.add_row(name, str(one["offered"]), str(one["accepted"]), share)
    return Group(Text(head, style="bold"), metrics, "", profiles)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
