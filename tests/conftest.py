"""What all tests share: how long hypothesis searches, how long a test may take, whether there is a GPU to look at.

`dev` is for a person waiting, `ci` for `make check`; both draw the same examples every time, so that a red test is
red for everybody. `hunt` draws new ones each time and long: HYPOTHESIS_PROFILE=hunt pytest tests/property.
"""

import os
from pathlib import Path

import hypothesis
import pytest
import structlog

_UNIT = Path(__file__).parent / "unit"
_UNIT_TIMEOUT_S = 60  # on a machine that is busy with much else; alone no unit test takes more than 5 s

_PATIENT = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]

hypothesis.settings.register_profile("dev", derandomize=True, database=None, deadline=None, max_examples=30)
hypothesis.settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=100, print_blob=True
)
hypothesis.settings.register_profile(
    "hunt", deadline=None, max_examples=3_000, print_blob=True, suppress_health_check=_PATIENT
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True)
def _fresh_logging() -> None:
    """Each test starts with structlog's own defaults: one that configured it, as commands do, binds no other."""
    structlog.reset_defaults()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--hardware`."""
    parser.addoption("--hardware", action="store_true", help="also look, read-only, at the GPUs of this machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give unit tests less time than others; skip what needs a GPU unless told that there is one."""
    for item in items:
        if item.path.is_relative_to(_UNIT) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_UNIT_TIMEOUT_S))
    if not config.getoption("--hardware"):
        for item in items:
            if item.get_closest_marker("hardware"):
                item.add_marker(pytest.mark.skip(reason="needs a MIG-capable GPU: run with --hardware"))
