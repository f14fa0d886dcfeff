"""The scheduler service is killed at each step of a release in mid-burst; one history of the cluster judges it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testbed.control_plane import build, ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import policy_gate
from tests.e2e.scheduling import burst_under_failure
from tests.e2e.scheduling.queued_workloads import pod
from tests.e2e.scheduling.stack import Document, ExtenderProcess, Stack

pytestmark = pytest.mark.e2e

PODS = 28
FAILURES = ("queue.held=kill@5", "queue.released=kill@5", "client.answer=damage@9", "reflector.change=kill@60")


@pytest.fixture(scope="module")
def served(
    binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, ExtenderProcess]]:
    """Two nodes of four GPUs, a stock kube-scheduler, and a service with the queue that the tests start and end."""
    with ControlPlane(tmp_path_factory.mktemp("killed"), binaries=binaries) as plane:
        plane.start_controller_manager()
        policy_gate.apply(plane)
        plane.start_scheduler()
        with closing(Stack(plane, 2, 4)) as stack:
            directory = tmp_path_factory.mktemp("service")
            service = ExtenderProcess(plane.kubeconfig, directory, *ports.choose_free(2), queue=True)
            yield stack, service
            service.stop()


def _pods() -> list[Document]:
    return [pod(f"p-{n}", "1g.5gb" if n % 4 else "2g.10gb") for n in range(PODS)]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_queue_loses_doubles_and_misplaces_nothing(
    served: tuple[Stack, ExtenderProcess], failure: str
) -> None:
    """Whatever fails where, every pod comes to run where it was promised, and no rule was broken meanwhile."""
    stack, service = served
    burst_under_failure.run(stack, service, failure, _pods())


def test_a_service_that_dies_after_a_nomination_loses_doubles_and_misplaces_nothing(
    served: tuple[Stack, ExtenderProcess], tmp_path: Path
) -> None:
    """A pod whose status names its node, and whose gate is still there, is placed anew by the next process."""
    stack, _ = served
    ports_ = ports.choose_free(2)
    service = ExtenderProcess(stack.plane.kubeconfig, tmp_path, *ports_, queue=True, queue_release="nominate")
    burst_under_failure.run(stack, service, "queue.nominated=kill@5", _pods())
