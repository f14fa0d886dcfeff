"""`migsched capacity`: what fits now, after a repack, or with more nodes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from allocator import errors
from allocator.claims import snapshot_file
from allocator.planning import capacity as capacities
from cli import answers, api_client, capacity_table, documents
from cli.answers import RowsFormat

Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", help="Ask about the pods of this manifest: any workload that the demo reads."),
]


def capacity(
    document: documents.Document = None,
    snapshot: documents.SnapshotFile = None,
    manifest: Manifest = None,
    save: Annotated[Path | None, typer.Option(help="Write the cluster's snapshot to this file as well.")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds to search at most.")] = capacities.DEFAULT_TIME_LIMIT_S,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[RowsFormat, typer.Option("--output", "-o", help="How to print.")] = RowsFormat.TABLE,
) -> None:
    """Say how many more slices fit, and whether given pods fit together (docs/planning.md).

    Looks at a running scheduler's cluster, at a snapshot file, or at the `fleet` that the document describes.
    With --manifest it says how many replicas of a workload fit now, and on which nodes.

    Exit code 1 if the pods asked about do not fit, 3 if that is undecided. `-o csv` writes the profiles.

    Example: echo '{fleet: [{model: a100-40gb, nodes: 2, gpus_per_node: 8}]}' | migsched capacity -
    """
    question = _with_pods(documents.read(document), manifest)
    described = isinstance(question, dict) and "fleet" in question
    if described:
        _alone(snapshot=snapshot, save=save)
    saved = None if described else documents.snapshot(snapshot, api_url)
    if save is not None and saved is not None:
        documents.write(save, snapshot_file.encode(saved))
    answer = capacities.answer(question, saved, time_limit)
    answers.show(form, answer, lambda: capacity_table.draw(answer), lambda: capacity_table.rows(answer))
    if answer.requests and answer.requests.fit is not True:
        raise typer.Exit(answers.exit_code(answer.requests.fit))


def _with_pods(question: Any, manifest: Path | None) -> Any:
    """The question, about a manifest's pods as well. Raises InputError if it asks about other pods already."""
    if manifest is None:
        return question
    from cli import manifest_requests  # slow to load

    if not isinstance(question, dict) or question.get("requests"):
        fix = "the document asks about pods of its own; leave out the flag, or requests from the document"
        raise errors.SettingsError("manifest", str(manifest), fix)
    return {"profiles": [], **question, "requests": manifest_requests.read(manifest), "replicas": True}


def _alone(**flags: Path | None) -> None:
    """Refuse the flags that are about a cluster: the document describes a fleet. Raises SettingsError."""
    for name, file in flags.items():
        if file is not None:
            fix = "the document describes a fleet of its own; leave out the flag, or fleet from the document"
            raise errors.SettingsError(name, str(file), fix)
