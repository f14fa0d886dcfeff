"""The report, drawn whole: all that was measured is in it, it needs no other file, and what fell short comes first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks import registry
from benchmarks.report import page, plots
from tests.unit.benchmarks import small_results

PICTURES = {
    "acceptance-1",
    "acceptance-0.85",
    "fragmentation",
    "decisions",
    "planning",
    "repacking",
    "extender",
    "scheduler",
}
VOID = {"meta", "br", "link", "img", "hr"}


@dataclass
class Parsed(HTMLParser):
    """What a page holds."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    tables: list[list[str]] = field(default_factory=list)
    pictures: int = 0
    open: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        values: Mapping[str, str] = {key: value or "" for key, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if "svg" not in self.open and "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        self.loads += [values[key] for key in ("src", "xlink:href") if key in values]
        self.loads += [tag] * (tag in ("script", "link", "img", "iframe"))
        self.pictures += tag == "svg"
        if tag == "table":
            self.tables.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the one opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        if "svg" not in self.open and "style" not in self.open:
            self.text += data
            if "table" in self.open and data.strip():
                self.tables[-1].append(data.strip())


def parsed(file: Path) -> Parsed:
    """A page, checked for elements that are not closed."""
    read = Parsed()
    read.feed(file.read_text(encoding="utf-8"))
    read.close()
    assert read.open == []
    return read


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return page.write(small_results.results_of(), tmp_path_factory.mktemp("report"))


def test_the_page_has_every_part_and_needs_no_other_file(made: list[Path]) -> None:
    """Each part is a section with an anchor in the contents, pictures are inside, and nothing is loaded."""
    read = parsed(made[0])
    assert read.ids == [
        "short",
        *(name for name in (p.name for p in registry.BENCHMARKS) if name in small_results.ROWS),
        "words",
    ]
    assert {f"#{id_}" for id_ in read.ids} - {"#short"} == set(read.links)
    assert all(source.startswith("#") for source in read.loads)
    assert read.pictures == len(PICTURES)
    for benchmark in registry.BENCHMARKS:
        assert (benchmark.question in read.text) == (benchmark.name in small_results.ROWS)


def test_what_fell_short_comes_first(made: list[Path]) -> None:
    """The first table is of the broken bounds alone, each with its reason; counts and what was not run are said."""
    read = parsed(made[0])
    shortfalls = " ".join(read.tables[0])
    assert "policies: gpc acceptance" in shortfalls
    assert "≥\N{NO-BREAK SPACE}0.95" in shortfalls
    assert "✗ short" in shortfalls
    assert "matters & <so>" in shortfalls
    assert "0.889" not in shortfalls
    said = " ".join(read.text.split())
    assert "Bounds: 1 held, 1 broken, 0 that this run could not judge." in said
    assert "Not run: sync." in said


def test_values_stand_beside_their_references(made: list[Path]) -> None:
    """In the table of policies a value has its interval, its reference and a mark; without reference it has none."""
    table = next(rows for rows in parsed(made[0]).tables if rows[0].startswith("Accepted compute at load 1, 5"))
    start = table.index("mfi")
    assert table[start + 1 : start + 7] == ["0.8880 ± 0.0040", "✓", "≈ 0.889", "0.8880 ± 0.0040", "✗ short", "≥ 0.95"]
    assert table[table.index("worst-fit") + 1] == table[table.index("worst-fit") + 2] == "0.6300 ± 0.0040"


def test_plots_are_pictures(made: list[Path]) -> None:
    """Every plot is there as a PNG and as an SVG, of a size that is a picture."""
    assert {file.stem for file in made[1:]} == PICTURES
    for file in made[1:]:
        content = file.read_bytes()
        assert content.startswith(b"\x89PNG" if file.suffix == ".png" else b"<svg")
        assert len(content) > 5_000


def test_the_same_results_make_the_same_files(tmp_path: Path) -> None:
    """Nothing in the report depends on when or where it is made."""
    first, again = (
        page.write(small_results.results_of("decisions", "repacking"), tmp_path / folder) for folder in ("a", "b")
    )
    assert [file.name for file in again] == [file.name for file in first]
    assert all(file.read_bytes() == other.read_bytes() for file, other in zip(first, again, strict=True))


def test_a_quick_report_says_what_it_left_out(tmp_path: Path) -> None:
    """A quick run is called one, with what each part left out."""
    read = parsed(page.write(small_results.results_of("decisions", "extender", quick=True), tmp_path)[0])
    assert "A quick run." in read.text
    for benchmark in registry.find(["decisions", "extender"]):
        assert benchmark.quick in read.text


def test_a_failed_part_is_in_the_report(tmp_path: Path) -> None:
    """A part without rows says why, and has neither picture nor table."""
    results = small_results.results_of("decisions", "planning")
    results.parts["decisions"].rows = []
    results.parts["decisions"].failed = "OSError: out of <space>"
    read = parsed(page.write(results, tmp_path)[0])
    assert "No numbers: OSError: out of <space>." in read.text
    assert read.pictures == 1


@pytest.mark.parametrize("name", small_results.ROWS)
def test_parts_are_drawn_alone(name: str) -> None:
    """Each part has its pictures whatever else was run."""
    drawn = plots.draw(small_results.results_of(name))
    assert list(drawn) == [name]
    assert {plot.name for plot in drawn[name]} <= PICTURES
