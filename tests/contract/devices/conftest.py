"""The contract of the device port is checked on its two implementations, over the same simulated driver."""

from collections.abc import Iterator

import pytest

from tests.contract.devices.simulated_nodes import A100, Benches, Kind, SimulatedNodePort


@pytest.fixture(params=list(Kind))
def benches(request: pytest.FixtureRequest) -> Iterator[Benches]:
    made = Benches(request.param)
    yield made
    for bench in made.made:
        bench.close()


@pytest.fixture
def bench(benches: Benches) -> SimulatedNodePort:
    return benches.of(f"{A100}:2")
