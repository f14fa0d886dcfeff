"""Parts of the docs that are generated from code say what the code says."""

from pathlib import Path

from pydantic_settings import BaseSettings

from allocator.claims.ledger import TRANSITIONS
from node_agent import settings as agent_settings
from scheduler.metrics import Metrics
from scheduler.settings import Settings

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


def settings_table(form: type[BaseSettings]) -> str:
    """The settings of a service as a Markdown table."""
    rows = [
        f"| `{name}` | `{'' if info.default is None else info.default}` | {info.description} |"
        for name, info in form.model_fields.items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows]) + "\n"


def metrics_table() -> str:
    """The metrics of the scheduler service as a Markdown table."""
    rows = []
    for family in Metrics().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(["| metric | type | meaning |", "|---|---|---|", *rows]) + "\n"


def test_settings_and_metrics_are_documented_as_they_are() -> None:
    """docs/settings.md holds the tables that the code makes."""
    text = (DOCS / "settings.md").read_text()
    assert settings_table(Settings) in text
    assert metrics_table() in text


def test_the_agents_settings_are_documented_as_they_are() -> None:
    """docs/agent-settings.md holds the table that the code makes."""
    assert settings_table(agent_settings.Settings) in (DOCS / "agent-settings.md").read_text()
