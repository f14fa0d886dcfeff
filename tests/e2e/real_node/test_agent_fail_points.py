"""The node agent fails at each of its fail points on a real kubelet; one history of the cluster judges what came.

A killed agent is started again, as the kubelet would, without the point. docs/reliability.md names the points.
"""

import os

import pytest

from allocator.mig import gpu_models
from tests.e2e import history
from tests.e2e.history import Recorder
from tests.e2e.real_node.agent_stack import AgentStack, is_over, is_running, pod

pytestmark = pytest.mark.e2e

FAILURES = (  # one at each point
    "agent.step=kill@6",
    "agent.report=kill@2",
    "journal.write=fail@2",
    "journal.written=kill@3",
    "client.request=fail@4",
    "client.answer=damage@4",
    "client.event=damage@1",
)
FURTHER = ("agent.step=delay:0.5", "agent.report=delay:1", "journal.write=kill@2", "journal.write=delay:0.3")
ALL = os.environ.get("MIGSCHED_FAILURES") == "all"  # `make fail-points`


@pytest.mark.parametrize("failure", FAILURES + FURTHER * ALL)
def test_a_failing_agent_loses_doubles_and_misplaces_nothing(stack: AgentStack, failure: str) -> None:
    """Whatever fails where, every pod runs where it was promised or was refused, and no rule was broken meanwhile."""
    stack.agent.stop()
    logged = len(stack.agent.log.read_text())
    recorder = Recorder(stack.cluster.kubeconfig)
    try:
        stack.agent.start(fail_points=failure)
        # else the kubelet may refuse both pods before the agent is asked for anything, and nothing fails
        stack.eventually(lambda: stack.agent.killed or stack.serves(), "the agent serves, or has failed", 60)
        stack.create(*(pod(stack, f"p-{number}", [profile]) for number, profile in enumerate(["1g.5gb", "2g.10gb"])))

        def settled() -> bool:
            if stack.agent.killed:
                stack.agent.start()
            pods = recorder.pods()
            failed = "a fail point acts" in stack.agent.log.read_text()[logged:]
            return failed and len(pods) == 2 and all(is_running(pod) or is_over(pod) for pod in pods)

        stack.eventually(settled, "the agent has failed, and every pod runs or was refused", 90)
        for pod_ in stack.pods():
            assert is_running(pod_) or pod_["status"]["reason"] == "UnexpectedAdmissionError", pod_["status"]
        stack.eventually(stack.serves, "the devices are back")
        stack.run(pod(stack, "after", ["3g.20gb"]))
    finally:
        events = recorder.stop()
    assert history.violations(events, gpu_models.find("a100-40gb")) == []
