"""docs/adr: every decision has a status and a date, and the index says the same."""

import re
from pathlib import Path

ADR = Path(__file__).parents[2] / "docs" / "adr"
HEADER = re.compile(r"# (\d{4}) (.+)\n\n- Status: ((?:.|\n)+?)\n- Date: (\d{4}-\d\d-\d\d)\n\n\*\*Context\.\*\*")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(ADR.glob("0*.md"))}


def test_every_decision_has_number_title_status_and_date() -> None:
    """A decision begins as the template does, and its number is that of its file."""
    headers = {name: HEADER.match(text) for name, text in PAGES.items()}
    assert [name for name, header in headers.items() if header is None or header[1] != name[:4]] == []


def test_the_index_says_what_the_pages_say() -> None:
    """The index has a row for each page, in order, with its title and date."""
    rows = [line for line in (ADR / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| [")]
    headers = {name: HEADER.match(text) for name, text in PAGES.items()}
    expected = [f"| [{header[1]}]({name}) | {header[2]} | " for name, header in headers.items() if header]
    assert [row[: len(start)] for row, start in zip(rows, expected, strict=True)] == expected
    assert [row.split(" | ")[-1] for row in rows] == [f"{header[4]} |" for header in headers.values() if header]


def test_a_superseded_decision_is_marked_in_both_places() -> None:
    """What a page's status says of newer decisions, the index says too, and these decisions exist."""
    index = (ADR / "README.md").read_text(encoding="utf-8")
    for name, text in PAGES.items():
        header = HEADER.match(text)
        assert header is not None
        newer = re.findall(r"\[(\d{4})\]\((\d{4}[^)]*\.md)\)", header[3])
        status = re.search(rf"\]\({name}\) \| .+ \| ([^|]+) \| {header[4]} \|", index)
        assert status is not None
        assert re.findall(r"\d{4}", status[1]) == [number for number, _ in newer]
        assert all(page in PAGES for _, page in newer)
