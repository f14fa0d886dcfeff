"""Every test says in one sentence which rule it checks: the test names of a red run, read aloud, are the damage."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("test_*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _tests(path: Path) -> Iterator[Function]:
    """The test functions of a file: those pytest collects, in classes or not."""
    for one in ast.walk(ast.parse(path.read_text())):
        if isinstance(one, Function) and one.name.startswith("test_"):
            yield one


def _fault(one: Function) -> str:
    said = ast.get_docstring(one)
    if not said:
        return "has no docstring"
    if "\n\n" in said or not said.endswith("."):
        return "is not one sentence ending with a full stop"
    if re.search(r"[.!?]\s+[A-Z]", said.removesuffix(".")):
        return "is more than one sentence"
    return ""


def test_tests_are_found() -> None:
    """The search below sees this very file and its tests."""
    assert Path(__file__) in FILES
    assert "test_tests_are_found" in {one.name for one in _tests(Path(__file__))}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def test_a(): pass", "has no docstring"),
        ('def test_a(): "one sentence"', "is not one sentence ending with a full stop"),
        ('def test_a(): "One. Two."', "is more than one sentence"),
        ('def test_a(): "One sentence about v1.36 of a 1g.5gb slice."', ""),
    ],
)
def test_the_rule_itself(source: str, fault: str) -> None:
    """The check tells no docstring, no full stop and two sentences from one good sentence."""
    (one,) = (found for found in ast.parse(source).body if isinstance(found, Function))
    assert _fault(one) == fault


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HERE)))
def test_each_test_states_its_rule_in_one_sentence(path: Path) -> None:
    """Each test function's docstring is one sentence."""
    faults = {one.name: fault for one in _tests(path) if (fault := _fault(one))}
    assert not faults
