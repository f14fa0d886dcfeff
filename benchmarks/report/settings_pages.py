"""The tables of docs/settings.md and docs/agent-settings.md, from the settings themselves.

`python -m benchmarks.report.settings_pages` (`make drawings`) writes them; a test compares them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic_settings import BaseSettings

from node_agent import settings as agent_settings
from scheduler import settings as scheduler_settings

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS_HEAD = "| setting | default | meaning |\n|---|---|---|\n"


def settings_table(form: type[BaseSettings]) -> str:
    """The settings of a service as a Markdown table."""
    rows = [
        f"| `{name}` | `{'' if info.default is None else info.default}` | {info.description} |\n"
        for name, info in form.model_fields.items()
    ]
    return SETTINGS_HEAD + "".join(rows)


def tables() -> list[tuple[str, str]]:
    """The page that holds each table, below docs/, and the table."""
    return [
        ("settings.md", settings_table(scheduler_settings.Settings)),
        ("agent-settings.md", settings_table(agent_settings.Settings)),
    ]


def replaced(text: str, table: str) -> str:
    """The page with the table of the same head replaced. Raises ValueError if it has no such table."""
    head = "".join(table.splitlines(keepends=True)[:2])
    text, count = re.subn(re.escape(head) + r"(?:\|[^\n]*\n)*", lambda _: table, text)
    if count != 1:
        raise ValueError(f"the page has {count} tables under {head.splitlines()[0]!r}; it needs one")
    return text


def write(made: Sequence[tuple[str, str]]) -> None:
    """Write tables into their pages, each named below docs/. Raises ValueError for a page without such a table."""
    for name, table in made:
        page = DOCS / name
        page.write_text(replaced(page.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    write(tables())
