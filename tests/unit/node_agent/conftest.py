"""A node for each test."""

from pathlib import Path

import pytest

from tests.unit.node_agent.agent_on_node import AgentOnNode


@pytest.fixture
def node(tmp_path: Path) -> AgentOnNode:
    """One A100-40GB, nothing on it."""
    return AgentOnNode(tmp_path)
