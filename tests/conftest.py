"""What all tests share: how long hypothesis searches, how long a test may take, whether there is a GPU to look at.

`dev` is for a person waiting, `ci` for `make check`; both draw the same examples every time, so that a red test is
red for everybody. `hunt` draws new ones each time and long: HYPOTHESIS_PROFILE=hunt pytest tests/property.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

_UNIT = Path(__file__).parent / "unit"
_UNIT_CPU_S = 10.0  # processor time, not wall time: a busy machine must not make a test red

_PATIENT = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]

hypothesis.settings.register_profile("dev", derandomize=True, database=None, deadline=None, max_examples=30)
hypothesis.settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=100, print_blob=True
)
hypothesis.settings.register_profile(
    "hunt", deadline=None, max_examples=3_000, print_blob=True, suppress_health_check=_PATIENT
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--hardware`."""
    parser.addoption("--hardware", action="store_true", help="also look, read-only, at the GPUs of this machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a GPU unless told that there is one."""
    if not config.getoption("--hardware"):
        for item in items:
            if item.get_closest_marker("hardware"):
                item.add_marker(pytest.mark.skip(reason="needs a MIG-capable GPU: run with --hardware"))
