"""The rooms keep their walls: import contracts, purity of the core, size, purpose and names of every module.

Each rule is one test that lists all offenders, so that the suite's count is a count of behaviours.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from importlinter import cli as importlinter

ROOT = Path(__file__).parent.parent
ROOMS = (
    *("allocator", "kubeclient", "config", "httpserver", "scheduler", "node_agent"),
    *("replay", "testbed", "simulator", "benchmarks", "cli"),
)
PRODUCT = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CORE = sorted((ROOT / "allocator").rglob("*.py"))
MAX_LINES = 400

# What the core may lean on: data structures, mathematics, text. Nothing that waits, remembers or speaks.
PURE_STDLIB = {
    *("abc", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
    *("heapq", "itertools", "math", "operator", "re", "statistics", "types", "typing", "weakref"),
}
PURE = PURE_STDLIB | {"numpy", "msgspec", "allocator"}
SOLVER = "ortools"  # the one library that only allocator/planning/packing may import
SPEAKING = {"open", "print", "input", "eval", "exec", "breakpoint", "__import__"}

# The scheduler and the node agent are two programs of one form: each has its settings, its metrics, its service, and
# its own port to the cluster with one implementation over the API server. The room's name tells them apart.
SHARED_NAMES = {"Settings", "Metrics", "Service", "Cluster", "KubeClient"}

STARTS_PROCESSES = {
    *("subprocess", "multiprocessing", "pty", "concurrent.futures.ProcessPoolExecutor"),
    *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "anyio.to_process"),
    *("testbed.processes", "testbed.control_plane.control_plane", "testbed.node.real_node"),
    "scheduler.planner.pool.PlannerPool",
}
SKIPPED_FOLDERS = {"__pycache__", "out", "run", "dist", "build", "htmlcov"}  # not in the repository
HIDDEN_FOLDERS = {".ci", ".github"}  # the only ones that are
# Package registries, in parts: the rule holds for this file too.
REGISTRIES = [
    (r"(?:test\.)?py" + "pi", "org"),
    ("python" + "hosted", "org"),
    ("registry[.-][a-z]*npm" + "js", "org"),
    ("(?:registry|www)[.]npm" + "js", "com|org"),
    (r"(?:proxy|sum|index)\.go" + "lang", "org"),
    (r"(?:static\.|index\.)?cra" + "tes", "io"),
    (r"[a-z]+\.deb" + "ian", "org"),
    (r"[a-z]+\.ub" + "untu", "com"),
    (r"(?:repo\.|conda\.)?ana" + "conda", "com|org"),
    ("ruby" + "gems", "org"),
]
REGISTRY = re.compile("|".join(rf"{host}\.(?:{domain})\b" for host, domain in REGISTRIES))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> set[str]:
    """The dotted names that a module imports, wherever in it, and the modules that hold them."""
    names: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"allocator.{node.module or ''}" if node.level else f"{node.module}"
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names


def _imported_packages(path: Path) -> set[str]:
    """The top-level packages that a module imports."""
    return {name.split(".")[0] for name in _imports(path)}


def _calls(path: Path) -> set[str]:
    """The plain names that a module calls."""
    nodes = ast.walk(_parsed(path))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _public_classes(path: Path) -> Iterator[str]:
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def _text_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file of the repository that is text."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in SKIPPED_FOLDERS and (path.name in HIDDEN_FOLDERS or not path.name.startswith(".")):
                yield from _text_files(path)
        elif not path.name.startswith(".coverage"):
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The contracts between the rooms in pyproject.toml hold."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    assert importlinter.lint_imports(cache_dir=str(tmp_path)) == importlinter.EXIT_STATUS_SUCCESS


def test_the_core_is_pure() -> None:
    """The allocator imports data structures and mathematics only, opens no file, prints nothing and runs no text."""
    assert not PURE_STDLIB - sys.stdlib_module_names, "a slip in this list would hide an import"
    impure = {}
    for path in CORE:
        allowed = PURE | {SOLVER} if "packing" in path.parts else PURE
        impure[_name(path)] = (_imported_packages(path) - allowed) | (_calls(path) & SPEAKING)
    assert {path: names for path, names in impure.items() if names} == {}


def test_each_module_says_why_it_exists() -> None:
    """Each module opens with a docstring."""
    assert [_name(path) for path in PRODUCT if not ast.get_docstring(_parsed(path))] == []


def test_each_file_is_short_enough_to_read() -> None:
    """No file has more than 400 lines."""
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*PRODUCT, *TESTS]}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_a_class_name_means_one_thing() -> None:
    """No two public classes of the product share a name, but for those of the two services' common form."""
    modules = defaultdict(list)
    for path in PRODUCT:
        for name in _public_classes(path):
            modules[name].append(_name(path))
    assert {name: paths for name, paths in modules.items() if len(paths) > 1 and name not in SHARED_NAMES} == {}


def test_no_package_registry_is_named() -> None:
    """No file of the repository names the host of a package registry: where packages come from is the user's affair."""
    hosts = {_name(path): REGISTRY.findall(text) for path, text in _text_files(ROOT)}
    assert {path: names for path, names in hosts.items() if names} == {}


def test_unit_tests_start_no_process() -> None:
    """Nothing under tests/unit starts a process: a test that does is an integration test."""
    unit = [path for path in TESTS if path.is_relative_to(ROOT / "tests" / "unit")]
    assert [_name(path) for path in unit if _imports(path) & STARTS_PROCESSES] == []
