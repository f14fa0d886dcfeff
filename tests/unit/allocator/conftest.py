"""What the core's unit tests begin with."""

import pytest

from allocator.claims.inventory import Inventory
from tests import builders


@pytest.fixture
def inventory() -> Inventory:
    """Two nodes, of which one has reported its one empty A100."""
    found = Inventory()
    found.nodes = {"n1", "n2"}
    found.observe(builders.node().gpu().report())
    return found
