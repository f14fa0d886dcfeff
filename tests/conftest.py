"""What all tests share: how long hypothesis searches, how long a test may take, whether there is a GPU to look at.

`dev` is for a person waiting, `ci` for `make check`; both draw the same examples every time, so that a red test is
red for everybody. For that all modules are loaded before the first property: hypothesis draws from the constants of
those that are loaded, and which these are would depend on the tests that ran before in the same process. `hunt` draws
new ones each time and long: HYPOTHESIS_PROFILE=hunt pytest tests/property.
"""

import gc
import importlib
import os
import pkgutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
import structlog

_TESTS = Path(__file__).parent
_UNIT = _TESTS / "unit"
_LONGEST_FIRST = ("e2e", "integration", "property", "contract")
_ASKED_FOR = {  # option and mark → why such tests are left out without it
    "hardware": "needs a MIG-capable GPU: run with --hardware",
    "kueue": "builds Kueue first, which takes minutes: run `make test-kueue`, or with --kueue",
}
_UNIT_CPU_S = 10.0  # processor time, not wall time: a busy machine must not make a test red

_PATIENT = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]

hypothesis.settings.register_profile("dev", derandomize=True, database=None, deadline=None, max_examples=12)
hypothesis.settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=100, print_blob=True
)
hypothesis.settings.register_profile(
    "hunt", deadline=None, max_examples=3_000, print_blob=True, suppress_health_check=_PATIENT
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected, modules and thousands of tests, stays until the end: no look for garbage walks through it."""
    gc.disable()
    try:
        collected = yield
    finally:
        gc.enable()
    gc.freeze()
    return collected


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A unit test that takes too much processor time fails: it belongs in another drawer. Tracing is not counted."""
    began = time.process_time()
    yield
    spent = time.process_time() - began
    if item.path.is_relative_to(_UNIT) and spent > _UNIT_CPU_S and sys.gettrace() is None:
        pytest.fail(f"a unit test took {spent:.1f} s of processor time, more than {_UNIT_CPU_S:g} s", pytrace=False)


@pytest.fixture(autouse=True)
def _fresh_logging() -> None:
    """Each test starts with structlog's own defaults: one that configured it, as commands do, binds no other."""
    structlog.reset_defaults()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty folder for Unix sockets, whose paths Linux limits to 107 characters: `tmp_path` alone may have 90."""
    with tempfile.TemporaryDirectory(prefix="m-") as folder:
        yield Path(folder)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--hardware` and `--kueue`."""
    parser.addoption("--hardware", action="store_true", help="also look, read-only, at the GPUs of this machine")
    parser.addoption("--kueue", action="store_true", help="also run the genuine Kueue, building it first (minutes)")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a GPU or Kueue unless told that it is there, and divide a run that several processes share."""
    for option, reason in _ASKED_FOR.items():
        if not config.getoption(f"--{option}"):
            for item in items:
                if item.get_closest_marker(option):
                    item.add_marker(pytest.mark.skip(reason=reason))
    if any(item.path.is_relative_to(_TESTS / "property") for item in items):
        _load_all_modules()
    if config.getoption("dist", "no") == "loadgroup":
        _divide(items)


def _load_all_modules() -> None:
    """Import every module of the product and of its benchmarks and testbed that can be imported here."""
    for package in (path for path in sorted(_TESTS.parent.iterdir()) if (path / "__init__.py").is_file()):
        if package == _TESTS:
            continue
        for module in pkgutil.walk_packages([str(package)], f"{package.name}."):
            if not module.name.endswith("__main__"):
                with suppress(ModuleNotFoundError):  # a model that Triton's own Python loads
                    importlib.import_module(module.name)


def _divide(items: list[pytest.Item]) -> None:
    """Say which tests stay together in one process of pytest-xdist, and put first what takes longest.

    Tests of one file share its fixtures. All of `tests/e2e` take turns: control planes side by side take all of two
    cores, and then a test measures the machine. A property stands alone.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_together(item)))
    items.sort(key=_rank)


def _together(item: pytest.Item) -> str:
    """The name of the group of a test."""
    module = item.path.relative_to(_TESTS)
    match module.parts[0]:
        case "e2e":
            return "e2e"
        case "property":
            return item.nodeid
        case _:
            return str(module)


def _rank(item: pytest.Item) -> int:
    drawer = item.path.relative_to(_TESTS).parts[0]
    return _LONGEST_FIRST.index(drawer) if drawer in _LONGEST_FIRST else len(_LONGEST_FIRST)
