"""How commands print: a table for people, JSON or YAML for programs.

Colours only on a terminal, and never with NO_COLOR.
"""

import enum
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import yaml
from rich.console import Console, RenderableType

WIDTH = 100  # columns where nobody says how many there are: in a pipe, in a file


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
        rendered: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        return rendered
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
