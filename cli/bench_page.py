"""`migsched bench overview`: one of the commands of `bench`, which registers it."""

from typing import Annotated

import typer

from cli import bench_rows, progress
from cli.output import Format


def overview(
    nodes: Annotated[int, typer.Option(min=5, help="Nodes of 8 GPUs.")] = 5000,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Processor time of the web page's overview: the first look at all nodes, and at what changed.

    Example: migsched bench overview --nodes 1000
    """
    from benchmarks import overview as overview_bench

    with progress.shown() as tell:
        row = overview_bench.measure(nodes, tell)
    bench_rows.show_one("overview", row, form)
