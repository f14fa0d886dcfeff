"""`migsched capacity`: what fits now, after a repack, or with more nodes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from allocator import errors
from allocator.claims import snapshot_file
from allocator.planning import capacity as answers
from allocator.planning.capacity.types import CapacityAnswer
from cli import api_client, documents, output
from cli.output import Format


def capacity(
    document: documents.Document = None,
    snapshot: documents.SnapshotFile = None,
    save: Annotated[Path | None, typer.Option(help="Write the cluster's snapshot to this file as well.")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds to search at most.")] = answers.DEFAULT_TIME_LIMIT_S,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Say how many more slices fit, and whether given pods fit together (docs/planning.md).

    Looks at a running scheduler's cluster, at a snapshot file, or at the `fleet` that the document describes.

    Example: echo '{fleet: [{model: a100-40gb, nodes: 2, gpus_per_node: 8}]}' | migsched capacity -
    """
    question = documents.read(document)
    described = isinstance(question, dict) and "fleet" in question
    if described:
        _alone(snapshot=snapshot, save=save)
    saved = None if described else documents.snapshot(snapshot, api_url)
    if save is not None and saved is not None:
        documents.write(save, snapshot_file.encode(saved))
    answer = answers.answer(question, saved, time_limit)
    output.show(form, lambda: answer, lambda: _text(answer))
    if answer.requests and answer.requests.fit is False:
        raise typer.Exit(1)


def _alone(**flags: Path | None) -> None:
    """Refuse the flags that are about a cluster: the document describes a fleet. Raises SettingsError."""
    for name, file in flags.items():
        if file is not None:
            fix = "the document describes a fleet of its own; leave out the flag, or fleet from the document"
            raise errors.SettingsError(name, str(file), fix)


def _text(answer: CapacityAnswer) -> RenderableType:
    return Text(output.text(Format.YAML, answer).rstrip())
