"""`migsched plan`: how many GPUs a demand needs, each one's layout, and the proof."""

from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from allocator.planning import plan as plans
from allocator.planning.plan.types import PlanAnswer
from cli import documents, output
from cli.output import Format


def plan(
    document: documents.Document = None,
    time_limit: Annotated[float, typer.Option(help="Seconds to search at most.")] = plans.DEFAULT_TIME_LIMIT_S,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Plan GPUs for a demand: counts per profile, services with a rate, or language models (docs/planning.md).

    Exit code 1 if the stock is too small.

    Example: echo '{demand: {3g.20gb: 20, 1g.5gb: 50}, fleet: [{model: a100-40gb, count: unlimited}]}' | migsched plan -
    """
    answer = plans.answer(documents.read(document), time_limit)
    output.show(form, lambda: answer, lambda: _table(answer))
    if not answer.feasible:
        raise typer.Exit(1)


def _table(answer: PlanAnswer) -> RenderableType:
    proof = "proven the fewest" if answer.optimal else f"lower bound {answer.lower_bound}"
    gpus = ", ".join(f"{number} × {model}" for model, number in answer.gpus.items()) or "none"
    parts: list[RenderableType] = [Text.assemble((gpus, "bold"), f"   ({proof})")]
    if answer.reason:
        parts.append(Text(answer.reason, style="bold red"))
    layouts = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("GPUS", "MODEL", "LAYOUT"):
        layouts.add_column(column, justify="right" if column == "GPUS" else "left")
    for layout in answer.layouts:
        slices = "  ".join(f"{slice_.profile}@{slice_.start}" for slice_ in layout.slices)
        layouts.add_row(str(layout.count), layout.model, slices or "–")
    parts.append(layouts)
    for name, instances in answer.services.items():
        parts.append(Text(f"{name}: " + ", ".join(f"{number} × {profile}" for profile, number in instances.items())))
    parts.append(Text(f"stranded memory slices: {answer.stranded_memory_slices}", style="dim"))
    return Group(*parts)
