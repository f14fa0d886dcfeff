"""The queue with its webhook in place of the policy, as Kubernetes before 1.36 needs it, on a stock kube-scheduler."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from allocator.queueing.queued_pod import GATE
from testbed.control_plane import build, certificates, ports
from testbed.control_plane.control_plane import ControlPlane
from testbed.errors import CommandError
from tests.e2e import deployed
from tests.e2e.scheduling.queued_workloads import pod
from tests.e2e.scheduling.stack import ExtenderProcess, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stack(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two nodes with two GPUs each, no policy, and kube-scheduler in its default configuration."""
    with ControlPlane(tmp_path_factory.mktemp("webhook"), binaries=binaries) as plane:
        plane.start_controller_manager()
        plane.start_scheduler()
        with closing(Stack(plane, 2, 2)) as made:
            yield made


@pytest.fixture
def service(stack: Stack, tmp_path: Path) -> Iterator[ExtenderProcess]:
    """A running service with queue and webhook, which the API server asks."""
    pki = certificates.ensure(stack.plane.directory / "pki")
    extender_port, api_port, webhook_port = ports.choose_free(3)
    made = ExtenderProcess(
        stack.plane.kubeconfig,
        tmp_path,
        extender_port,
        api_port,
        queue=True,
        webhook_cert=pki.serving,
        webhook_key=pki.serving_key,
        webhook_host="127.0.0.1",
        webhook_port=webhook_port,
    )
    made.start()
    stack.api_url = made.api_url
    stack.plane.apply([deployed.webhook_at(f"https://127.0.0.1:{webhook_port}", pki.authority)])
    probe = pod("probe-1", "7g.40gb")
    eventually(lambda: deployed.gates_of(stack.plane, probe) == [GATE], "the webhook is in force")
    yield made
    made.stop()
    stack.plane.kubectl("delete", "mutatingwebhookconfigurations", "migsched-queue")
    stack.clear()


def test_pods_that_the_webhook_gated_are_placed_and_bound(stack: Stack, service: ExtenderProcess) -> None:
    """Pods of several profiles fill the GPUs at legal places, and one more waits at the gate with its reason."""
    pairs = [f"{name}-{number}" for number in range(4) for name in ("four", "three")]
    stack.create(*(pod(name, "4g.20gb" if name.startswith("four") else "3g.20gb") for name in pairs))
    eventually(lambda: len(bound(stack.pods())) == len(pairs), "all are bound")
    assert sum(len(there) for there in placements(stack, stack.pods()).values()) == len(pairs)
    stack.create(pod("late-1", "1g.5gb"))
    eventually(lambda: "2 full" in stack.explain("default/late-1")["reason"], "a reason")
    (late,) = stack.pods("--selector=app=late")
    assert late["spec"]["schedulingGates"] == [{"name": GATE}]
    stack.delete("four-0")
    eventually(lambda: bool(bound(stack.pods("--selector=app=late"))), "the late pod is bound")


def test_nothing_is_placed_blindly_while_the_service_is_away(stack: Stack, service: ExtenderProcess) -> None:
    """Without the service pods with slices are refused and others are not; a ReplicaSet gets its pods later."""
    service.stop()
    with pytest.raises(CommandError, match=r"gate\.migsched\.io"):
        stack.create(pod("asks-1", "1g.5gb"))
    stack.create(pod("plain-1"))
    eventually(lambda: len(bound(stack.pods())) == 1, "the plain pod is bound")
    template = {"metadata": {"labels": {"app": "set"}}, "spec": pod("x-1", "1g.5gb")["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "set"}}, "template": template}
    stack.create({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "set"}, "spec": spec})
    service.start()
    eventually(lambda: len(bound(stack.pods("--selector=app=set"))) == 2, "the set's pods are made and bound")
    placements(stack, stack.pods("--selector=app=set"))
