"""docs/architecture.md draws the imports as they are."""

import pytest

from benchmarks.report import imports


def test_the_drawings_of_the_imports_are_those_of_the_code() -> None:
    """The page shows every drawing that the generator makes, as it makes it (`make drawings`)."""
    text = imports.PAGE.read_text(encoding="utf-8")
    drawn = imports.drawings()
    assert [name for name in drawn if text.count(f"<!-- drawing: {name} -->") != 1] == []
    assert imports.page(text, drawn) == text


def test_arrows_join_what_the_modules_are_members_of() -> None:
    """Imports inside one package, and those of modules outside the drawing, are no arrows."""
    members = {"a.x": "a", "a.y": "a", "b.x": "b"}
    imported = [("a.x", "a.y"), ("a.x", "b.x"), ("a.y", "b.x"), ("b.x", "c.x")]
    assert imports.arrows(imported, members) == {("a", "b")}


@pytest.mark.parametrize(
    ("drawn", "left"),
    [
        ({("a", "b"), ("b", "c"), ("a", "c")}, {("a", "b"), ("b", "c")}),
        ({("a", "b"), ("a", "c")}, {("a", "b"), ("a", "c")}),
        ({("a", "b"), ("b", "a")}, {("a", "b"), ("b", "a")}),
    ],
    ids=["implied", "independent", "circle"],
)
def test_an_arrow_that_follows_from_others_is_left_out(drawn: set[tuple[str, str]], left: set[tuple[str, str]]) -> None:
    """Only what follows from other arrows goes, and a circle stays visible."""
    assert imports.reduced(frozenset(drawn)) == left
