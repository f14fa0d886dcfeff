"""The rooms keep their walls: import contracts, purity of the core, size and purpose of every module."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter import cli as importlinter

ROOT = Path(__file__).parent.parent
ROOMS = (
    *("allocator", "kubeclient", "config", "scheduler", "node_agent"),
    *("replay", "testbed", "simulator", "benchmarks", "cli"),
)
PRODUCT = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CORE = sorted((ROOT / "allocator").rglob("*.py"))
MAX_LINES = 400

# What the core may lean on: data structures, mathematics, text. Nothing that waits, remembers or speaks.
PURE_STDLIB = {
    *("abc", "bisect", "collections", "dataclasses", "decimal", "enum", "fractions", "functools", "heapq"),
    *("itertools", "math", "operator", "re", "statistics", "types", "typing"),
}
PURE = PURE_STDLIB | {"numpy", "msgspec", "allocator"}
SOLVER = "ortools"  # the one library that only allocator/planning/packing may import
SPEAKING = {"open", "print", "input", "eval", "exec", "breakpoint", "__import__"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(tree: ast.Module) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Import):
            yield from (alias.name.split(".")[0] for alias in one.names)
        elif isinstance(one, ast.ImportFrom):
            yield "allocator" if one.level else (one.module or "").split(".")[0]


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The contracts between the rooms in pyproject.toml hold."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    assert importlinter.lint_imports(cache_dir=str(tmp_path)) == importlinter.EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_the_core_imports_nothing_impure(path: Path) -> None:
    """The allocator imports data structures and mathematics only; the solver stays inside planning/packing."""
    allowed = PURE | {SOLVER} if "packing" in path.parts else PURE
    assert set(_imports(ast.parse(path.read_text()))) <= allowed


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_the_core_calls_nothing_that_speaks(path: Path) -> None:
    """The allocator opens no file, prints nothing and runs no text as code."""
    calls = {one.func.id for one in ast.walk(ast.parse(path.read_text()))
             if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)}  # fmt: skip
    assert not calls & SPEAKING


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_each_module_says_why_it_exists(path: Path) -> None:
    """Each module opens with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=_name)
def test_each_file_is_short_enough_to_read(path: Path) -> None:
    """No file has more than 400 lines."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_pure_names_are_real_modules() -> None:
    """The list of pure modules names what exists, so that a slip in it cannot hide an import."""
    assert not PURE_STDLIB - sys.stdlib_module_names
