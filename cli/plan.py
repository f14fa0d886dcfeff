"""`migsched plan`: how many GPUs a demand needs, each one's layout, and the proof."""

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import UNSET
from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.text import Text

from allocator import errors
from allocator.planning import plan as plans
from allocator.planning.plan import cluster_document
from allocator.planning.plan.types import Headroom, PlanAnswer, PlanGoal, PlanSlice
from cli import answers, api_client, documents, output
from cli.answers import PlanFormat


def plan(
    document: documents.Document = None,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", help="Pin the GPUs of this snapshot file, as they are cut.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Pin the GPUs of a running scheduler's cluster, as they are cut.")
    ] = False,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    time_limit: Annotated[float, typer.Option(help="Seconds to search at most.")] = plans.DEFAULT_TIME_LIMIT_S,
    form: Annotated[PlanFormat, typer.Option("--output", "-o", help="How to print.")] = PlanFormat.TABLE,
) -> None:
    """Plan GPUs for a demand: counts per profile, services with a rate, or language models (docs/planning.md).

    With --snapshot or --live the cluster's GPUs are pinned, and new ones are those to buy.

    Exit code 1 if the stock is too small, 3 if that is undecided. `-o mig-parted` writes the file for NVIDIA's MIG
    manager, `-o csv` the layouts.

    Example: echo '{demand: {3g.20gb: 20, 1g.5gb: 50}, fleet: [{model: a100-40gb, count: unlimited}]}' | migsched plan -
    """
    if live and snapshot is not None:
        raise errors.SettingsError("live", "true", "and --snapshot name two clusters; leave one of them out")
    asked = documents.read(document)
    if live or snapshot is not None:
        saved = documents.snapshot(snapshot, api_url)
        pinned = cluster_document.with_cluster(asked, saved)
        answer = plans.answer(pinned, time_limit, cluster_document.catalogues(saved))
        answer = replace(answer, notes=cluster_document.notes(saved) or UNSET)
    else:
        answer = plans.answer(asked, time_limit)
    answers.show(form, answer, lambda: _table(answer), lambda: _rows(answer))
    if answer.feasible is not True:
        raise typer.Exit(answers.exit_code(answer.feasible))


def _table(answer: PlanAnswer) -> RenderableType:
    if not answer.feasible:
        parts = [answers.refusal(answer.feasible, str(answer.reason))]
        if answer.feasible is None and answer.lower_bound:
            parts.append(Text(f"no plan has less than {_goal(answer, answer.lower_bound)}"))
        return Group(*parts, *_notes(answer))
    parts_: list[RenderableType] = [Text.assemble((answers.gpus(answer.gpus), "bold"), f"   ({_proof(answer)})")]
    pinned = sum(answer.gpus.values()) - sum(answer.new_gpus.values())
    if pinned:
        parts_.append(Text(f"new: {answers.gpus(answer.new_gpus)}; pinned: {output.number(pinned, 'GPU')}"))
    if answer.cost is not None:
        parts_.append(Text(f"cost: {answers.amount(answer.cost)}"))
    parts_.append(_layouts(answer))
    if answer.services:
        parts_.append(_services(answer))
    if answer.headroom:
        parts_.append(_headroom(answer))
    parts_.append(Text(f"stranded memory slices: {answer.stranded_memory_slices}", style="dim"))
    return Group(*parts_, *_notes(answer))


def _notes(answer: PlanAnswer) -> list[Text]:
    return [] if answer.notes is UNSET else [Text(f"note: {note}", style="dim") for note in answer.notes]


def _proof(answer: PlanAnswer) -> str:
    """What is proven of the plan, by its goal."""
    best = "the fewest" if answer.goal is PlanGoal.GPUS else "the cheapest"
    if answer.optimal:
        return f"proven {best}"
    bound = _goal(answer, answer.lower_bound)
    return f"not proven {best}: none has less than {bound}, which is {answer.gap or 0:.1%} less"


def _goal(answer: PlanAnswer, value: float) -> str:
    """A value of the goal with its unit."""
    return output.number(int(value), "GPU") if answer.goal is PlanGoal.GPUS else f"cost {answers.amount(value)}"


def _layouts(answer: PlanAnswer) -> RenderableType:
    table = answers.table("GPUS", "MODEL", "MEMORY SLICES", "LAYOUT", numbers=("GPUS",))
    for layout in answer.layouts:
        picture = answers.picture(layout.model, [(s.profile, s.start, s.pinned) for s in layout.slices])
        table.add_row(str(layout.count), layout.model, picture, "  ".join(map(_slice, layout.slices)) or "–")
    return table


def _slice(slice_: PlanSlice) -> str:
    return f"{slice_.profile}@{slice_.start}{' (pinned)' if slice_.pinned else ''}"


def _services(answer: PlanAnswer) -> RenderableType:
    table = answers.table("SERVICE", "INSTANCES", "NEEDS MIB EACH", numbers=("NEEDS MIB EACH",))
    for name, instances in answer.services.items():
        chosen = ", ".join(f"{number} × {profile}" for profile, number in instances.items())
        table.add_row(name, chosen or "–", f"{answer.needs_mib[name]:,}" if name in answer.needs_mib else "–")
    return table


def _headroom(answer: PlanAnswer) -> RenderableType:
    table = answers.table("HEADROOM", "MORE SLICES", "", numbers=("MORE SLICES",))
    for profile, more in answer.headroom.items():
        table.add_row(profile, str(more.slices), _most(more))
    return table


def _most(more: Headroom) -> str:
    return "proven the most" if more.optimal else f"not proven: at most {more.at_most}"


def _rows(answer: PlanAnswer) -> list[dict[str, Any]]:
    """A row per layout."""
    return [
        {
            "gpus": layout.count,
            "model": layout.model,
            "layout": " ".join(f"{slice_.profile}@{slice_.start}" for slice_ in layout.slices),
            "pinned": " ".join(f"{slice_.profile}@{slice_.start}" for slice_ in layout.slices if slice_.pinned),
        }
        for layout in answer.layouts
    ]
