"""SECURITY.md: what backs each row of the threat model is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
MODEL = TEXT.partition("## Threat model\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a title, without its head."""
    table = MODEL.partition(f"**{title}**")[2].partition("\n**")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_boundary_names_what_backs_it() -> None:
    """Each row has a test, a page or a command, and each test that is named exists."""
    boundaries = rows("Trust boundaries, and what is refused there")
    assert len(boundaries) > 10
    for boundary, _refused, shown in boundaries:
        tests = re.findall(r"`(tests/[\w/.]+)`", shown)
        assert tests or "](" in shown, boundary
        assert [name for name in tests if not (ROOT / name).is_file()] == [], boundary


def test_every_risk_that_is_left_has_a_reason_and_a_remedy() -> None:
    """No cell of what is left is empty."""
    left = rows("What is left")
    assert len(left) > 5
    assert all(len(row) == 3 and all(row) for row in left)


def test_assets_and_actors_are_said() -> None:
    """The model begins with what is to be kept, and from whom."""
    assert len(rows("Assets")) > 3
    assert {"tenant", "caller of the API", "compromised node or agent"} <= {row[0] for row in rows("Actors")}
