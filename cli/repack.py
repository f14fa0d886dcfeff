"""`migsched repack`: the cheapest restarts that make room or empty GPUs: a plan, or an object to be carried out."""

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.text import Text

from allocator import errors
from allocator.moves.document import RepackMode
from allocator.planning import repack as repacks
from allocator.planning.repack.types import FleetFigures, PodMove, PodPlacement, RepackAnswer
from cli import answers, api_client, documents, output, repack_objects
from cli.answers import RowsFormat

_APPROVE = Path("approve")
_FIGURES = {
    "gpus_in_use": "GPUs in use",
    "gpus_empty": "GPUs empty",
    "cost": "cost of GPUs in use",
    "fragmentation": "fragmentation (0 none, 1 nothing fits)",
    "free_memory_slices": "free memory slices",
    "stranded_memory_slices": "stranded memory slices",
}


def repack(
    document: documents.Document = None,
    name: Annotated[str | None, typer.Argument(help="With approve: the Repack.", show_default=False)] = None,
    snapshot: documents.SnapshotFile = None,
    time_limit: Annotated[float, typer.Option(help="Seconds to search at most.")] = repacks.DEFAULT_TIME_LIMIT_S,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[RowsFormat, typer.Option("--output", "-o", help="How to print.")] = RowsFormat.TABLE,
    apply: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make a Repack of this name, which the scheduler plans and carries out."),
    ] = None,
    mode: Annotated[RepackMode, typer.Option(help="With --apply: how far it goes by itself.")] = RepackMode.APPROVE,
) -> None:
    """Plan moves of movable pods that make room for requests or empty whole GPUs (docs/planning.md).

    Exit code 1 if there is no such plan, 3 if that is undecided. `-o csv` writes the moves. `--apply NAME` makes a
    Repack object, and `migsched repack approve NAME` lets it be carried out (docs/repacking.md).

    Example: echo '{requests: [{profiles: {7g.40gb: 1}}]}' | migsched repack -
    """
    if name is not None:
        if document != _APPROVE:
            raise errors.InputError("NAME", name, f"goes with `approve`, not with the document {str(document)!r}")
        repack_objects.approve(api_url, name)
        output.console().print(f"{name} is approved; watch: kubectl get repack {name} --watch", soft_wrap=True)
        return
    if apply is not None:
        repack_objects.create(api_url, apply, repack_objects.spec_of(documents.read(document), mode.value))
        output.console().print(f"{apply} is made; watch: kubectl get repack {apply} --watch", soft_wrap=True)
        return
    answer = repacks.answer(documents.read(document), documents.snapshot(snapshot, api_url), time_limit)
    answers.show(form, answer, lambda: _table(answer), lambda: _rows(answer))
    if answer.possible is not True:
        raise typer.Exit(answers.exit_code(answer.possible))


def _table(answer: RepackAnswer) -> RenderableType:
    if answer.possible:
        parts: list[RenderableType] = [_headline(answer)]
        if answer.moves:
            parts.append(_moves(answer.moves))
        if answer.placements:
            parts.append(placements(answer.placements))
        if answer.emptied:
            parts.append(Text(f"emptied: {', '.join(answer.emptied)}"))
    else:
        parts = [answers.refusal(answer.possible, answer.reason)]
    parts.append(_figures(answer.before, answer.after))
    if answer.notes is not UNSET:
        parts += [Text(f"note: {note}", style="dim") for note in answer.notes]
    return Group(*parts)


def _headline(answer: RepackAnswer) -> Text:
    if not answer.moves:
        return Text.assemble(("no restart is needed", "bold"), "   (cost 0)")
    cost = answer.cost
    head = f"{output.number(cost.moves, 'restart')} of {output.number(cost.pods, 'pod')}"
    proof = "proven the cheapest"
    if not answer.optimal:
        proof = f"not proven the cheapest: none costs less than {answer.lower_bound:g} (gap {answer.gap or 0:.1%})"
    return Text.assemble((head, "bold"), f", cost {cost.total}: 1 each and {cost.gpc} compute slices   ({proof})")


def _moves(moves: list[PodMove]) -> RenderableType:
    table = answers.table("STEP", "POD", "FROM", "TO", "SLICES", "COST", numbers=("STEP", "COST"))
    for move in moves:
        slices = "\n".join(
            f"{answers.place(s.from_.gpu, s.from_.profile, s.from_.start)} → "
            f"{answers.place(s.to.gpu, s.to.profile, s.to.start)}"
            for s in move.slices
        )
        table.add_row(str(move.step), move.pod, move.from_node, move.to_node, slices, str(move.cost))
    return table


def placements(placed: list[PodPlacement]) -> RenderableType:
    """Where the pods go that were asked about; also of `capacity`."""
    table = answers.table("REQUEST", "NODE", "SLICES")
    for pod in placed:
        table.add_row(pod.request, pod.node, ", ".join(answers.place(s.gpu, s.profile, s.start) for s in pod.slices))
    return table


def _figures(before: FleetFigures, after: FleetFigures | None) -> RenderableType:
    names = ("NOW", "AFTER THE MOVES") if after else ("NOW",)
    table = answers.table("FLEET", *names, numbers=names)
    for field, words in _FIGURES.items():
        values = [getattr(figures, field) for figures in (before, after) if figures is not None]
        table.add_row(words, *(f"{value:.3f}" if field == "fragmentation" else f"{value:g}" for value in values))
    return table


def _rows(answer: RepackAnswer) -> list[dict[str, Any]]:
    """A row per slice that moves."""
    return [
        {
            "step": move.step,
            "pod": move.pod,
            "container": slice_.container,
            "profile": slice_.to.profile,
            "from_node": move.from_node,
            "from_gpu": slice_.from_.gpu,
            "from_start": slice_.from_.start,
            "to_node": move.to_node,
            "to_gpu": slice_.to.gpu,
            "to_start": slice_.to.start,
            "cost": move.cost,
        }
        for move in answer.moves
        for slice_ in move.slices
    ]
