"""`migsched record`: keep a bounded log of what the web page shows."""

from pathlib import Path
from typing import Annotated

import typer

from cli import api_client
from cli.recording import source
from cli.recording.page_state import PageState
from cli.recording.writer import RecordingLimits, RecordingWriter

_DEFAULTS = RecordingLimits()
_MIB, _HOUR = 2**20, 3600


def record(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write; made if it is not there.")],
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    every: Annotated[float, typer.Option(min=0.25, max=3600, metavar="SECONDS", help="How often to look.")] = 1.0,
    file_mib: Annotated[int, typer.Option(min=1, help="Begin another file beyond so many MiB, or after an hour.")] = (
        _DEFAULTS.file_bytes // _MIB
    ),
    most_mib: Annotated[int, typer.Option(min=1, help="Delete the oldest files beyond so many MiB of all.")] = (
        _DEFAULTS.bytes // _MIB
    ),
    most_files: Annotated[int, typer.Option(min=1, help="Delete the oldest files beyond so many.")] = _DEFAULTS.files,
    most_hours: Annotated[int, typer.Option(min=1, help="Delete files that are older.")] = int(_DEFAULTS.age_s)
    // _HOUR,
) -> None:
    """Record what the web page shows into files that rotate, until Ctrl-C; `migsched replay` shows it.

    Example: migsched record --out rec
    """
    limits = RecordingLimits(file_mib * _MIB, most_mib * _MIB, most_files, _DEFAULTS.file_s, most_hours * float(_HOUR))
    with api_client.opened(api_url) as api:
        writer = RecordingWriter(out, limits)
        typer.echo(f"recording {api.where} into {out}; Ctrl-C ends it", err=True)
        try:
            _record(writer, api, every)
        finally:
            writer.close()


def _record(writer: RecordingWriter, api: api_client.CapacityApi, every: float) -> None:
    before = PageState()
    for state in source.documents(api, every, told=lambda said: typer.echo(f"migsched: {said}", err=True)):
        state.sections.pop("history", None)  # what it says is in the frames
        if writer.is_full:
            writer.begin(state.whole())
        elif changes := before.changes_to(state):
            writer.change(changes)
        before = state
