"""What a pod is told of others: nothing that names them. Its namespace's users read it."""

from pathlib import Path

import pytest
import structlog

from node_agent.allocation import AllocationError
from tests.unit.node_agent.agent_on_node import AgentOnNode


def test_a_refusal_names_no_other_pod(tmp_path: Path) -> None:
    """The kubelet's error and the Event say which place is taken; whose slice is there only the agent's log says."""
    node = AgentOnNode(tmp_path)
    secret = node.bind("secret", "4g.20gb", at=(node.place("4g.20gb", 0),))
    node.step()
    node.admit(secret)
    node.step()
    node.bind("late", "7g.40gb", at=(node.place("7g.40gb", 0),))
    outcome = node.step()
    with structlog.testing.capture_logs() as logs, pytest.raises(AllocationError) as refused:
        node.allocation.allocate("nvidia.com/mig-7g.40gb", node.choose("nvidia.com/mig-7g.40gb", 1))
    assert "4g.20gb@0" in str(refused.value)
    (event,) = [event for event in outcome.events if event.pod == "late"]
    assert "4g.20gb@0" in event.message
    assert "secret" not in str(refused.value) + event.message
    assert [entry["owners"] for entry in logs if entry["event"] == "no room"] == [["default/secret"]]
