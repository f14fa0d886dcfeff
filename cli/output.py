"""How commands print: a table for people, JSON or YAML for programs.

Colours only on a terminal, and never with NO_COLOR.
"""

import enum
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import yaml
from rich.console import Console, RenderableType
from rich.table import Table

from allocator import errors

WIDTH = 100  # columns where the width is unknown: in a pipe, in a file
MIN_WIDTH = 20


class Format(enum.StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class _Plain(yaml.SafeDumper):
    """Writes what appears twice twice, instead of an anchor and a reference to it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the library's
        """Of everything."""
        return True


def console() -> Console:
    """Standard output for people."""
    return Console(width=None if sys.stdout.isatty() else _piped_width(), highlight=False)


def coloured() -> bool:
    """Whether whoever looks at standard output sees colours."""
    made = console()
    return made.color_system is not None and not made.no_color


def _piped_width() -> int:
    """COLUMNS, where it says a width that can be used."""
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isascii() and said.isdigit() and int(said[:5]) >= MIN_WIDTH else WIDTH


def table(*columns: str, numbers: Collection[str] = ()) -> Table:
    """The one style of tables: no lines, dim upper-case headings; columns of numbers to the right."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left")
    return made


def program() -> str:
    """How this program can be called from the folder that it was called in, for hints that are to be copied."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m cli"
    on_path = shutil.which(called.name)
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return "kubectl mig" if called.name.startswith("kubectl-") else called.name
    return shlex.quote(os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called))


def show(
    form: Format, document: Callable[[], Any], table: Callable[[], RenderableType], *, whole_lines: bool = False
) -> None:
    """Print the answer in the wanted form; only that is made. `whole_lines`: they are to be copied, and not cut."""
    if form is Format.TABLE:
        console().print(table(), soft_wrap=whole_lines)
    else:
        sys.stdout.write(text(form, document()))
        sys.stdout.flush()


def text(form: Format, document: Any) -> str:
    """A document as JSON or YAML."""
    if form is Format.YAML:
        plain = msgspec.to_builtins(document)
        rendered: str = yaml.dump(plain, Dumper=_Plain, sort_keys=False, allow_unicode=True)
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
    save_text(path, "svg", svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas"))


def save_text(path: Path, flag: str, written: str) -> None:
    """Write a file that a flag names. Raises SettingsError if it cannot be written."""
    try:
        path.write_text(written, encoding="utf-8")
    except OSError as error:
        raise errors.SettingsError(flag, str(path), f"cannot be written: {error.strerror}") from error
