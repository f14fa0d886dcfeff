"""The scheduler service fails at each of its fail points in mid-burst; one history of the cluster judges what came.

A killed service is started again, as the kubelet would, without the point. docs/reliability.md names the points.
"""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from testbed.control_plane import ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import history
from tests.e2e.scheduling import burst_under_failure
from tests.e2e.scheduling.stack import ExtenderProcess, Stack, pod

pytestmark = pytest.mark.e2e

PODS = 28  # on 7 GPUs of 8, if each takes its place
FAILURES = (  # one at each point
    "binder.reserved=kill@5",
    "binder.bound=kill@5",
    "reflector.list=delay:1",
    "reflector.change=kill@40",
    "client.request=fail@12",
    "client.answer=damage@3",
    "client.event=damage@41",
)
FURTHER = (
    "binder.reserved=delay:0.2",
    "binder.bound=delay:0.2",
    "reflector.list=kill@3",
    "reflector.change=delay:0.02",
    "client.request=kill@12",
    "client.request=delay:0.1",
    "client.answer=kill@12",
    "client.answer=fail@12",
    "client.answer=damage@14",
    "client.event=kill@40",
    "client.event=fail@40",
)
ALL = os.environ.get("MIGSCHED_FAILURES") == "all"  # `make fail-points`


@pytest.fixture(scope="module")
def served(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, ExtenderProcess]]:
    """Two nodes of four GPUs, kube-scheduler, and an extender that the tests start and end."""
    directory = tmp_path_factory.mktemp("extender")
    with closing(Stack(plane, 2, 4)) as stack:
        extender = ExtenderProcess(plane.kubeconfig, directory, *ports.choose_free(2))
        stack.schedule(extender.url)
        yield stack, extender
        extender.stop()
    plane.kubectl("delete", "nodes,mignodes", "--all")


@pytest.mark.parametrize("failure", FAILURES + FURTHER * ALL)
def test_a_failing_service_loses_doubles_and_misplaces_nothing(
    served: tuple[Stack, ExtenderProcess], failure: str
) -> None:
    """Whatever fails where, every pod comes to run where it was promised, and no rule was broken meanwhile."""
    stack, extender = served
    pods = [pod(f"p-{number}", "1g.5gb" if number % 4 else "2g.10gb") for number in range(PODS)]
    events = burst_under_failure.run(stack, extender, failure, pods)
    assert sum("nodeName" in event.object["spec"] for event in events if event.path == history.PODS) >= PODS
