"""`migsched repack`: the cheapest pod restarts that make room or empty GPUs. A plan; nothing is carried out."""

from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from allocator.planning import repack as answers
from allocator.planning.repack.types import RepackAnswer
from cli import api_client, documents, output
from cli.output import Format


def repack(
    document: documents.Document = None,
    snapshot: documents.SnapshotFile = None,
    time_limit: Annotated[float, typer.Option(help="Seconds to search at most.")] = answers.DEFAULT_TIME_LIMIT_S,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Plan moves of movable pods that make room for requests or empty whole GPUs (docs/planning.md).

    Exit code 1 if there is no such plan.

    Example: echo '{requests: [{profiles: {7g.40gb: 1}}]}' | migsched repack -
    """
    answer = answers.answer(documents.read(document), documents.snapshot(snapshot, api_url), time_limit)
    output.show(form, lambda: answer, lambda: _text(answer))
    if not answer.possible:
        raise typer.Exit(1)


def _text(answer: RepackAnswer) -> RenderableType:
    return Text(output.text(Format.YAML, answer).rstrip())
