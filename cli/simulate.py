"""`migsched simulate`: replay a trace or a generated workload against a placement policy.

The flags are the fields of `RunConfig`: names, types, defaults and help come from it.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.text import Text

import replay
from cli import output
from cli.output import Format
from replay import RunConfig
from replay.types import SimulationAnswer

# In the order of --help. What a document can say beside these (lifetimes, weights) is for the API.
_FLAGS = {
    "trace": "trace",
    "mix": "mix",
    "load": "load",
    "gpus": "gpus",
    "model": "model",
    "policy": "policy",
    "moves": "moves",
    "discipline": "discipline",
    "patience_s": "patience",
    "reservations": "reservations",
    "seeds": "seeds",
    "first_seed": "first_seed",
    "backend": "backend",
    "workers": "workers",
    "scheduler": "scheduler",
    "restart_s": "restart",
    "lifetime_error": "lifetime_error",
}
_TYPES: dict[str, Any] = {"trace": Path | None, "mix": str}  # of a flag, where the field takes other things too


def simulate(
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE, **flags: Any
) -> None:
    """Replay a workload on simulated GPUs and report acceptance, waits and moves with 95 % intervals.

    Example: migsched simulate --mix skew-small --load 1.0 --policy mfi --moves 1 --seeds 4
    """
    settings = {field: flags[flag] for field, flag in _FLAGS.items()}
    if settings["trace"] is not None:
        settings["trace"] = str(settings["trace"])
    config = RunConfig(**settings)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=1.0)
        answer = replay.run(config, lambda share: bar.update(task, completed=share))
    output.show(form, lambda: answer, lambda: _table(answer))


def _parameters() -> Iterator[inspect.Parameter]:
    """A parameter per flag, as typer reads it."""
    types, notes = get_type_hints(RunConfig), get_type_hints(RunConfig, include_extras=True)
    defaults = {field.name: field.default for field in msgspec.structs.fields(RunConfig)}
    for field, flag in _FLAGS.items():
        help_ = next(note.description for note in get_args(notes[field])[1:] if getattr(note, "description", None))
        yield inspect.Parameter(
            flag,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[field],
            annotation=Annotated[_TYPES.get(field, types[field]), typer.Option(help=help_)],
        )


def _describe() -> None:
    """Give `simulate` the signature that typer makes flags of."""
    own = inspect.signature(simulate).parameters["form"]
    parameters = [*_parameters(), own.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    simulate.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Python's documented way
    simulate.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


_describe()


def _table(answer: SimulationAnswer) -> RenderableType:
    moves, runs = output.number(answer.moves, "move"), output.number(len(answer.seeds), "run")
    head = f"{answer.policy}, {moves}, {answer.gpus} × {answer.model}, {runs}"
    metrics = output.table("METRIC", "MEAN", "± 95 %", numbers=("MEAN", "± 95 %"))
    for name, interval in answer.metrics.items():
        metrics.add_row(name, _number(interval.mean), _number(interval.ci95))
    counts = ("OFFERED", "ACCEPTED", "SHARE")
    profiles = output.table("PROFILE", *counts, numbers=counts)
    for name, jobs in answer.per_profile.items():
        share = f"{jobs.accepted / jobs.offered:.3f}" if jobs.offered else "–"
        profiles.add_row(name, str(jobs.offered), str(jobs.accepted), share)
    return Group(Text(head, style="bold"), metrics, "", profiles)


def _number(value: float | None) -> str:
    """Four digits that count; no exponent, which few read at a glance."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
