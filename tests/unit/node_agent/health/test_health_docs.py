"""docs/health.md says of XIDs and of the ends of marks what the code says."""

from pathlib import Path

import pytest

from node_agent.health import marks, xids

TEXT = (Path(__file__).parents[4] / "docs" / "health.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "table"), [("xids", xids.table()), ("ends", marks.table())])
def test_the_tables_are_those_of_the_code(name: str, table: str) -> None:
    """Each table of the page is what `python -m node_agent.health.<module>` prints."""
    written = TEXT.split(f"<!-- table: {name} -->\n")[1].split("\n<!-- end -->")[0]
    assert written == table
