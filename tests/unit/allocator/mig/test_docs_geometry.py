"""docs/geometry.md and docs/glossary.md say what the code says: examples are run, tables are made anew."""

import doctest
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from allocator.claims.ledger import ClaimState
from allocator.claims.report import SliceState
from allocator.mig import geometry, gpu_models
from allocator.mig.geometry import Geometry
from allocator.placement.misfit import Misfit, Reason

ROOT = Path(__file__).parents[4]
GEOMETRY = (ROOT / "docs" / "geometry.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def _table(text: str, name: str) -> list[str]:
    """The rows of a marked table, without head and rule."""
    return text.split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0].strip().splitlines()[2:]


def _row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"


def test_the_examples_of_the_geometry_page_run() -> None:
    """Every example of docs/geometry.md gives the answer that stands below it."""
    failed, tried = doctest.testfile(str(ROOT / "docs" / "geometry.md"), module_relative=False)
    assert tried >= 15
    assert failed == 0


def test_the_profiles_of_the_geometry_page() -> None:
    """The table of an A100's profiles is the catalogue's."""
    assert _table(GEOMETRY, "a100-40gb") == [
        _row(f"`{p.name}`", p.compute_slices, p.memory_slices, p.max_instances, ", ".join(map(str, p.starts)))
        for p in gpu_models.find("a100-40gb").profiles
    ]


def _counted(compiled: Geometry) -> tuple[int, ...]:
    return (
        sum(1 for _ in compiled.legal_sets()),
        sum(1 for _ in compiled.maximal_sets()),
        len(compiled.multisets()),
        len(set(compiled.masks.tolist())),
        compiled.states,
    )


def test_the_numbers_of_the_geometry_page() -> None:
    """The table of geometries is what enumeration counts."""
    a100 = gpu_models.find("a100-40gb")
    without_me = a100.restricted(frozenset(p.name for p in a100.profiles if p.plain))
    base = a100.restricted(frozenset(p.name for p in without_me.profiles if p.name != "1g.10gb"))
    models = [a100, without_me, base, gpu_models.find("a30-24gb"), gpu_models.find("rtx-pro-6000-blackwell-96gb")]
    rows = _table(GEOMETRY, "geometries")
    titles = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert rows == [
        _row(title, *_counted(geometry.compiled(catalogue))) for title, catalogue in zip(titles, models, strict=True)
    ]


def _terms() -> list[str]:
    return re.findall(r"^\*\*(.+?)\*\*:", GLOSSARY, flags=re.MULTILINE)


def test_each_word_is_defined_once_and_in_order() -> None:
    """The glossary defines each word once, in alphabetical order."""
    terms = _terms()
    assert len(terms) > 30
    assert terms == sorted(set(terms), key=str.lower)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_that_points_to_the_glossary_uses_its_words(page: Path) -> None:
    """Words that a page marks as the glossary's are in it."""
    text = page.read_text()
    if "words in **bold** are in the [glossary]" not in text:
        return
    marked = {word.lower().removesuffix("s") for word in re.findall(r"\*\*([^*]+)\*\*", text)} - {"bold"}
    assert marked <= {term.lower().removesuffix("s") for term in _terms()}


def _meanings(members: Iterable[ClaimState] | Iterable[SliceState], module: str) -> dict[str, str]:
    """The comment behind each member of an enumeration, by its value."""
    source = (ROOT / "allocator" / module).read_text()
    return {member.value: re.findall(rf'{member.name} = "{member.value}"  # (.*)', source)[0] for member in members}


def test_states_are_explained_as_in_the_code() -> None:
    """The glossary's tables of states list every state with the meaning that the code gives it."""
    for name, meanings in (
        ("claims", _meanings(ClaimState, "claims/ledger.py")),
        ("slices", _meanings(SliceState, "claims/report.py")),
    ):
        expected = [_row(f"`{value}`", meaning.replace("`owner`", "the report")) for value, meaning in meanings.items()]
        assert _table(GLOSSARY, name) == expected


def test_refusals_are_listed_as_they_read() -> None:
    """The glossary lists every reason with its sentence and whether eviction helps."""
    refusals = [Misfit(reason, "3g.20gb") for reason in Reason]
    assert _table(GLOSSARY, "misfits") == [
        _row(f"`{refusal.reason.value}`", refusal.message, "yes" if refusal.resolvable else "no")
        for refusal in refusals
    ]
