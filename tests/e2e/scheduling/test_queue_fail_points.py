"""The scheduler service is killed at each step of a release in mid-burst; one history of the cluster judges it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from testbed.control_plane import build, ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import history
from tests.e2e.history import Recorder
from tests.e2e.scheduling.stack import DEPLOY, MODEL, ExtenderProcess, Stack, eventually, placements
from tests.e2e.scheduling.test_queue import pod

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
        plane.apply(DEPLOY / "options" / "queue" / "gate.yaml")
        plane.start_scheduler()
        with closing(Stack(plane, 2, 4)) as stack:
            directory = tmp_path_factory.mktemp("service")
            service = ExtenderProcess(plane.kubeconfig, directory, *ports.choose_free(2), queue=True)
            yield stack, service
            service.stop()


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_queue_loses_doubles_and_misplaces_nothing(
    served: tuple[Stack, ExtenderProcess], failure: str, tmp_path: Path
) -> None:
    """Whatever fails where, every pod comes to run where it was promised, and no rule was broken meanwhile."""
    stack, service = served
    recorder = Recorder(stack.plane.kubeconfig)
    try:
        service.start(failure)
        stack.create(*(pod(f"p-{number}", "1g.5gb" if number % 4 else "2g.10gb") for number in range(PODS)))

        def all_running() -> bool:
            if service.killed:
                service.start()
            pods = recorder.pods()
            return len(pods) == PODS and all(one["status"]["phase"] == "Running" for one in pods)

        eventually(all_running, "all pods running", 120)
        promised = {gpu: sorted(place for _, place in there) for gpu, there in placements(stack, stack.pods()).items()}
        assert sum(len(there) for there in promised.values()) == PODS
        assert promised == {gpu: sorted(there) for gpu, there in stack.agents.in_use().items() if there}
        stack.clear()
    finally:
        service.stop()
        events = recorder.stop()
    assert "a fail point acts" in service.log()
    assert history.violations(events, gpu_models.find(MODEL)) == []
