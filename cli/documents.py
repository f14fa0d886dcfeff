"""Documents that commands read: a YAML or JSON file, standard input, or the snapshot of a cluster.

Used by `migsched plan`, `capacity` and `repack`. Errors name the file and what is wrong with it.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from allocator import errors, snapshot_file
from allocator.snapshot_file import Saved
from cli import api_client

MAX_BYTES = 256 * 2**20

Document = Annotated[Path | None, typer.Argument(help="YAML or JSON file; - reads standard input.", show_default=False)]
SnapshotFile = Annotated[
    Path | None, typer.Option("--snapshot", help="Look at this snapshot file instead of a running scheduler.")
]


def read(file: Path | None) -> Any:
    """The document in a file, `-` for standard input, an empty one without. Raises InputError naming the file."""
    if file is None:
        return {}
    text = sys.stdin.read() if str(file) == "-" else text_of(file)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise errors.InputError(str(file), text[:40], f"must be YAML or JSON: {error}") from error


def text_of(file: Path) -> str:
    """A file's text. Raises InputError naming the file."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise errors.InputError("file", str(file), f"must be at most {MAX_BYTES // 2**20} MiB")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise errors.InputError("file", str(file), f"cannot be read: {error}") from error


def snapshot(file: Path | None, api_url: str) -> Saved:
    """A snapshot from a file, or of the cluster of a running scheduler. Raises InputError or NoAnswerError."""
    if file is not None:
        return snapshot_file.decode(text_of(file))
    return snapshot_file.decode(api_client.get_text(api_url, "/api/v1/snapshot"))
