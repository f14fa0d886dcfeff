"""A world for each test."""

from pathlib import Path

import pytest

from tests.unit.node_agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One A100-40GB, nothing on it."""
    return World(tmp_path)
