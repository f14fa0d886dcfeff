"""Parts of the docs that are generated from code say what the code says."""

import re
from pathlib import Path

import pytest

from allocator.claims.ledger import TRANSITIONS
from benchmarks.monitoring import exported, metrics_page
from benchmarks.report import settings_pages
from config import fail_points

DOCS = Path(__file__).parents[2] / "docs"


def test_the_diagram_of_a_claims_life_is_the_transition_table() -> None:
    """docs/architecture.md draws exactly the transitions of the ledger that change a state."""
    text = (DOCS / "architecture.md").read_text()
    drawn = text.split("stateDiagram-v2\n")[1].split("```")[0].split("\n")
    expected = ["[*] --> RESERVED: reserve", "[*] --> BOUND: adopt"] + [
        f"{before.name} --> {after.name if after else '[*]'}: {event.value}"
        for (before, event), after in TRANSITIONS.items()
        if after is not before
    ]
    assert expected == [line for line in drawn if line]


def test_every_decision_is_listed() -> None:
    """The index of decisions names each page once."""
    pages = sorted(page.name for page in (DOCS / "adr").glob("0*.md"))
    index = (DOCS / "adr" / "README.md").read_text()
    assert [page for page in pages if index.count(f"]({page})") != 1] == []


@pytest.mark.parametrize(("page", "table"), settings_pages.tables(), ids=["settings", "agent settings"])
def test_settings_are_documented_as_they_are(page: str, table: str) -> None:
    """docs/settings.md and docs/agent-settings.md hold the tables that the code makes (`make drawings` writes them)."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert settings_pages.replaced(text, table) == text


def test_every_metric_is_documented_as_it_is() -> None:
    """docs/metrics.md has each metric of both services, as the code makes it (`make monitoring` writes it)."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert text == metrics_page.page()
    assert {f"`{metric.name}`" for metric in exported.metrics()} <= set(re.findall(r"`\w+`", text))


def test_every_label_has_a_stated_bound() -> None:
    """Of each label it is said how many values it can have, and no bound is of a label that there is not."""
    metrics = exported.metrics()
    stated = {f"{metric.name} {label}" for metric in metrics for label in metric.labels}
    assert all(metrics_page.bound(metric, label) for metric in metrics for label in metric.labels)
    assert {key for key in metrics_page.BOUNDS if " " in key} <= stated
    assert {key for key in metrics_page.BOUNDS if " " not in key} <= {key.split()[1] for key in stated}


def test_every_fail_point_is_on_the_page() -> None:
    """The page's table names each fail point with the actions that it takes, and no other one."""
    rows = re.findall(
        r"^\| `([a-z.]+)` \| .* \| ([a-z, ]+) \|$", (DOCS / "reliability.md").read_text(encoding="utf-8"), re.M
    )
    named = {point: {action.strip() for action in actions.split(",")} for point, actions in rows}
    assert named == {point: {action.value for action in actions} for point, actions in fail_points.POINTS.items()}
