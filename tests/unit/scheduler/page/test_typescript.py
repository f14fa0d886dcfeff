"""The page's types are the service's."""

from pathlib import Path

from scheduler.page import typescript

ROOT = Path(__file__).parents[4]


def test_the_declaration_is_the_one_that_is_made() -> None:
    """web/src/overview.d.ts is what `python -m scheduler.page.typescript` writes."""
    assert (ROOT / typescript.FILE).read_text(encoding="utf-8") == typescript.declaration()
