"""Documents that commands read: a YAML or JSON file, standard input, or the snapshot of a cluster.

Used by `migsched plan`, `capacity` and `repack`. Errors name the file and what is wrong with it.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from allocator import errors
from allocator.claims import snapshot_file
from allocator.claims.snapshot_file import Saved
from cli import api_client
from config import document_text

MAX_BYTES = 256 * 2**20

Document = Annotated[Path | None, typer.Argument(help="YAML or JSON file; - reads standard input.", show_default=False)]
SnapshotFile = Annotated[
    Path | None, typer.Option("--snapshot", help="Look at this snapshot file instead of a running scheduler.")
]


def read(file: Path | None) -> Any:
    """The document in a file, `-` for standard input, an empty one without. Raises InputError naming the file."""
    if file is None:
        return {}
    if str(file) == "-":
        return document_text.load(_standard_input(), "standard input")
    return document_text.load(text_of(file), str(file))


def _standard_input() -> str:
    try:
        if sys.stdin.isatty():
            print("migsched: reading YAML or JSON from the terminal; Ctrl-D ends it", file=sys.stderr)  # noqa: T201
        return sys.stdin.read()
    except UnicodeError as error:
        raise errors.InputError("standard input", "-", f"must be UTF-8 text: {error}") from error


def text_of(file: Path) -> str:
    """A file's text. Raises InputError naming the file."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise errors.InputError("file", str(file), f"must be at most {MAX_BYTES // 2**20} MiB")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise errors.InputError("file", str(file), f"cannot be read: {error}") from error


def write(file: Path, content: str) -> None:
    """Write a file. Raises InputError naming it."""
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        fix = f"cannot be written: {error.strerror}; name a file in an existing folder that you may write to"
        raise errors.InputError("file", str(file), fix) from error


def snapshot(file: Path | None, api_url: api_client.Address) -> Saved:
    """A snapshot from a file, or of the cluster of a running scheduler. Raises InputError or NoAnswerError."""
    if file is not None:
        return snapshot_file.decode(text_of(file))
    return snapshot_file.decode(api_client.get_text(api_url, "/api/v1/snapshot"))
