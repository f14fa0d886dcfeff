"""Every test says in one sentence which rule it checks: the test names of a red run, read aloud, are the damage."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("test_*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef

# The rule on examples: no docstring, no full stop and two sentences are told from one good sentence.
EXAMPLES = {
    "def test_a(): pass": "has no docstring",
    'def test_a(): "one sentence"': "is not one sentence ending with a full stop",
    'def test_a(): "One. Two."': "is more than one sentence",
    'def test_a(): "One sentence about v1.36 of a 1g.5gb slice."': "",
}


def _tests(source: str) -> Iterator[Function]:
    """The test functions of a file: those pytest collects, in classes or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and node.name.startswith("test_"):
            yield node


def _fault(test: Function) -> str:
    docstring = ast.get_docstring(test)
    if not docstring:
        return "has no docstring"
    if "\n\n" in docstring or not docstring.endswith("."):
        return "is not one sentence ending with a full stop"
    if re.search(r"[.!?]\s+[A-Z]", docstring.removesuffix(".")):
        return "is more than one sentence"
    return ""


def test_each_test_states_its_rule_in_one_sentence() -> None:
    """Each test function's docstring is one sentence."""
    assert {source: _fault(test) for source in EXAMPLES for test in _tests(source)} == EXAMPLES
    tests = {
        f"{path.relative_to(HERE)}::{test.name}": test
        for path in FILES
        for test in _tests(path.read_text(encoding="utf-8"))
    }
    assert "test_docstrings.py::test_each_test_states_its_rule_in_one_sentence" in tests
    assert {name: fault for name, test in tests.items() if (fault := _fault(test))} == {}
