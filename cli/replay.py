"""`migsched replay`: show a recording in the web page, or put both into one file."""

from pathlib import Path
from typing import Annotated

import typer

from allocator import errors
from cli.recording import page_file
from cli.recording.recording import Recording
from scheduler.api import web_pages


def replay(
    recording: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="What `migsched record` wrote.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write page and recording into one file, and end.")
    ] = None,
    pseudonyms: Annotated[bool, typer.Option("--pseudonyms", help="With --html: replace names.")] = False,
    frames: Annotated[
        int, typer.Option(min=2, max=100_000, help="With --html: keep at most so many points in time.")
    ] = page_file.MOST_FRAMES,
) -> None:
    """Show a recording in the web page on this machine, until Ctrl-C; or make one HTML file of it.

    Example: migsched replay rec --html cluster.html --pseudonyms
    """
    if pseudonyms and html is None:
        raise errors.SettingsError("pseudonyms", "true", "is for a file: add --html OUT")
    found = Recording(recording)
    for said in found.left_out:
        typer.echo(f"migsched: read as far as it goes: {said}", err=True)
    if html is not None:
        text = page_file.html(found, web_pages.APP, hidden=pseudonyms, most_frames=frames)
        try:
            html.write_text(text, encoding="utf-8")
        except OSError as error:
            raise errors.SettingsError("html", str(html), f"cannot be written: {error.strerror}") from error
        typer.echo(f"{html}: {found.frames} frames, {len(text.encode()) / 2**20:.1f} MiB")
        return
    from cli.recording import server  # slow to load

    server.serve(found, port, lambda url: typer.echo(f"{found.frames} frames at {url} ; Ctrl-C ends it"))
