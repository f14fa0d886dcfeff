"""The commands of `migsched bench` that compare whole systems on genuine control planes."""

from typing import Annotated

import typer

from cli import bench_rows, checkout, progress
from cli.output import Format

_Form = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def rivals(
    nodes: Annotated[int, typer.Option(min=1, help="Cluster size.")] = 100,
    pods: Annotated[int, typer.Option(min=1, help="Pods per run.")] = 300,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each variant, in turn.")] = 5,
    form: _Form = Format.TABLE,
) -> None:
    """Pods per second, processor time, memory and packing beside counted slices and DRA.

    Example: migsched bench rivals --nodes 100 --runs 3 -o json
    """
    checkout.require_for_benchmarks("rivals")
    from benchmarks import rivals as rivals_bench

    with progress.shown() as tell:
        bench_rows.show("rivals", rivals_bench.measure(nodes, pods, runs, progress=tell), form)


def moves(
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs of jobs.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Counted jobs per run.")] = 60,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes that get bursts of pods.")] = 20,
    pods: Annotated[int, typer.Option(min=4, help="Pods per burst.")] = 300,
    runs: Annotated[int, typer.Option(min=0, help="Bursts of each kind, in turn; 0 leaves them out.")] = 12,
    form: _Form = Format.TABLE,
) -> None:
    """Acceptance with 0, 1 and 2 moves on a real kube-scheduler, time from Fix to Running, and what others notice.

    Example: migsched bench moves --seeds 1 --jobs 20 --runs 1 -o json
    """
    checkout.require_for_benchmarks("moves")
    from benchmarks import moves as moves_bench

    with progress.shown() as tell:
        rows = moves_bench.measure(seeds, jobs, nodes=nodes, pods=pods, runs=runs, progress=tell)
    bench_rows.show("moves", rows, form)
