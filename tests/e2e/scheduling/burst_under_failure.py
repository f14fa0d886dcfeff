"""A burst of pods while a service fails at a fail point, and what must be true of it. Used by tests of fail points."""

from collections.abc import Sequence

from allocator.mig import gpu_models
from tests.e2e import history
from tests.e2e.history import Event, Recorder
from tests.e2e.scheduling.stack import MODEL, Document, ExtenderProcess, Stack, eventually, placements


def run(stack: Stack, service: ExtenderProcess, failure: str, pods: Sequence[Document]) -> Sequence[Event]:
    """Every pod comes to run where it was promised, and no rule was broken meanwhile: the cluster's whole history.

    A killed service is started again, as the kubelet would, without the point. Nothing is left afterwards.
    """
    logged = len(service.log())
    recorder = Recorder(stack.plane.kubeconfig)
    try:
        service.start(failure)
        stack.create(*pods)

        def all_running() -> bool:
            if service.killed:
                service.start()
            seen = recorder.pods()
            return len(seen) == len(pods) and all(one["status"]["phase"] == "Running" for one in seen)

        eventually(all_running, "all pods running", 120)
        promised = {gpu: sorted(place for _, place in there) for gpu, there in placements(stack, stack.pods()).items()}
        assert sum(len(there) for there in promised.values()) == len(pods)
        assert promised == {gpu: sorted(there) for gpu, there in stack.agents.in_use().items() if there}
        stack.clear()
    finally:
        service.stop()
        events = recorder.stop()
    assert "a fail point acts" in service.log()[logged:]
    assert history.violations(events, gpu_models.find(MODEL)) == []
    return events
