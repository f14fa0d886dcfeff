"""The recorded full run: whole, judged by the bounds as they are, and what the docs quote from it."""

import pytest

from benchmarks import ranges, registry, results, suite
from benchmarks.report import quoted
from benchmarks.results import Results

PICTURE_BYTES = 150_000


@pytest.fixture(scope="module", name="recorded")
def _recorded() -> Results:
    return results.read(quoted.FILE)


def test_the_recorded_run_is_a_full_one(recorded: Results) -> None:
    """It is no quick run, and each of its parts is one there is, with rows whose fields it explains."""
    assert not recorded.quick
    assert (
        {"policies", "planning", "repacking"}
        <= set(recorded.parts)
        <= {benchmark.name for benchmark in registry.BENCHMARKS}
    )
    for part in recorded.parts.values():
        assert part.rows
        assert not part.failed
        assert {field for row in part.rows for field in row} <= set(part.columns)


def test_its_verdicts_are_those_of_the_bounds_as_they_are(recorded: Results) -> None:
    """Judged again, what was measured has the verdicts that it was recorded with."""
    again = results.read(quoted.FILE)
    suite.judge(again, ranges.load())
    before, after = (
        [verdict for verdict in results_.verdicts if verdict.measure in results_.parts]
        for results_ in (recorded, again)
    )
    assert after == before


def test_the_docs_quote_the_recorded_run(recorded: Results) -> None:
    """Every table that the docs show as recorded is what the recorded run says, and none is left out."""
    shown = 0
    for file in quoted.PAGES:
        text = file.read_text(encoding="utf-8")
        assert quoted.page(text, recorded) == text
        shown += text.count("<!-- recorded: ")
    assert shown == len(quoted.TABLES)


def test_quoting_replaces_a_table_and_nothing_else(recorded: Results) -> None:
    """The table after the mark is replaced, what stands around it stays, and an unknown name is an error."""
    quote = "Before.\n\n<!-- recorded: decisions -->\n\n{}\nAfter.\n"
    made = quoted.page(quote.format("| old |\n|---|\n| 1 |\n"), recorded)
    assert made == quoted.page(quote.format(""), recorded)
    assert "old" not in made
    assert "| mfi | " in made
    with pytest.raises(KeyError):
        quoted.page("<!-- recorded: hearsay -->\n\n", recorded)


def test_the_pictures_in_the_docs_are_there_and_small() -> None:
    """The pictures that docs/policies.md shows are those that are drawn for it, and small."""
    text = (quoted.ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    shown = {line.split("](images/")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert shown == set(quoted.PICTURES.values())
    assert all(0 < (quoted.IMAGES / picture).stat().st_size <= PICTURE_BYTES for picture in shown)
