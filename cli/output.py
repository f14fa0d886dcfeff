"""How commands print: a table for people, JSON or YAML for programs.

Colours only on a terminal, and never with NO_COLOR.
"""

import enum
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from rich.console import Console, RenderableType

from allocator import errors

WIDTH = 100  # columns where the width is unknown: in a pipe, in a file


class Format(enum.StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console() -> Console:
    """Standard output for people."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def show(form: Format, document: Callable[[], Any], table: Callable[[], RenderableType]) -> None:
    """Print the answer in the wanted form; only that form is made."""
    if form is Format.TABLE:
        console().print(table())
    else:
        sys.stdout.write(text(form, document()))
        sys.stdout.flush()


def text(form: Format, document: Any) -> str:
    """A document as JSON or YAML."""
    if form is Format.YAML:
        rendered: str = yaml.safe_dump(msgspec.to_builtins(document), sort_keys=False, allow_unicode=True)
        return rendered
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def number(count: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def save_svg(path: Path, title: str, picture: RenderableType) -> None:
    """A picture of what a terminal shows, in fonts that a reader has. Raises SettingsError if it cannot be written."""
    terminal = Console(file=io.StringIO(), record=True, width=WIDTH, highlight=False)
    terminal.print(picture)
    svg = re.sub(r"@font-face \{[^}]*\}\s*", "", terminal.export_svg(title=title))
    try:
        path.write_text(svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas"), encoding="utf-8")
    except OSError as error:
        raise errors.SettingsError("svg", str(path), f"cannot be written: {error.strerror}") from error
