"""What the tests of the local control plane share: a wait on conditions that another process brings about."""

import time
from collections.abc import Callable

import pytest

_TIMEOUT_S = 20.0


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds, for some seconds at most."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"not so after {_TIMEOUT_S:g} s"
            time.sleep(0.005)

    return wait
