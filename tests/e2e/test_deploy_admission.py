"""The admission policy that keeps MIG pods with migsched, on the genuine API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from testbed import errors
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.e2e.deployed import SLICE
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

SAYS = "needs schedulerName: migsched"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server without any of our policies."""
    with ControlPlane(tmp_path_factory.mktemp("admission"), binaries=binaries) as started:
        yield started


@pytest.fixture
def warning(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """The API server with the warning form in force."""
    yield from in_force(cluster, "warn", lambda: SAYS in tried(cluster, offending("probe")))


@pytest.fixture(scope="module")
def before(cluster: ControlPlane) -> None:
    """A Deployment that offends the policy and was there before it."""
    document = workload("Deployment", offending("x")["spec"])
    document["metadata"]["name"] = "before"
    cluster.apply([document])


@pytest.fixture
def denying(cluster: ControlPlane, before: None) -> Iterator[ControlPlane]:
    """The API server with the denying form in force."""
    yield from in_force(cluster, "deny", lambda: refused(cluster, offending("probe")))


def in_force(cluster: ControlPlane, form: str, sign: Any) -> Iterator[ControlPlane]:
    folder = f"--kustomize={manifests.DEPLOY / 'admission' / form}"
    cluster.kubectl("apply", "--validate=strict", folder)
    deployed.eventually(sign, "the policy is in force")
    yield cluster
    cluster.kubectl("delete", folder)
    deployed.eventually(lambda: not sign(), "the policy is gone")


def offending(name: str) -> dict[str, Any]:
    return deployed.pod(name, resources=SLICE)


def tried(cluster: ControlPlane, document: dict[str, Any]) -> str:
    return deployed.create(cluster, document, "--dry-run=server")


def refused(cluster: ControlPlane, document: dict[str, Any]) -> bool:
    try:
        tried(cluster, document)
    except errors.CommandError as exc:
        if "denied request" not in str(exc):
            raise
        return True
    return False


def workload(kind: str, pod_spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "x", "namespace": "default"}
    if kind in ("Job", "CronJob"):
        job = {"template": {"spec": {**pod_spec, "restartPolicy": "Never"}}}
        spec = job if kind == "Job" else {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}
        return {"apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": spec}
    labels = {"app": "x"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod_spec}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


POD_CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "no scheduler named": ({"resources": SLICE}, True),
    "another scheduler": ({"resources": SLICE, "schedulerName": "default-scheduler"}, True),
    "ours": ({"resources": SLICE, "schedulerName": "migsched"}, False),
    "ours, past it to a node": ({"resources": SLICE, "schedulerName": "migsched", "nodeName": "gpu-1"}, True),
    "a whole GPU": ({"resources": {"limits": {"nvidia.com/gpu": "1"}}}, False),
    "no slice, straight to a node": ({"resources": {"limits": {"cpu": "1"}}, "nodeName": "gpu-1"}, False),
    "no resources": ({}, False),
    "in an init container": ({"initContainers": [{"name": "init", "image": "none", "resources": SLICE}]}, True),
}


def test_pods_that_ask_for_slices_go_through_migsched(denying: ControlPlane) -> None:
    """A pod that asks for a slice must name our scheduler and no node; any other pod may do what it likes."""
    judged = {name: refused(denying, deployed.pod("judged", **spec)) for name, (spec, _expected) in POD_CASES.items()}
    assert judged == {name: expected for name, (_spec, expected) in POD_CASES.items()}


def test_workloads_are_judged_by_their_template(denying: ControlPlane) -> None:
    """A workload is refused for what its pods would be refused for, so that its author hears of it."""
    spec = offending("x")["spec"]
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
        assert refused(denying, workload(kind, spec)), kind
        assert not refused(denying, workload(kind, {**spec, "schedulerName": "migsched"})), kind


def test_workloads_from_before_can_be_scaled(denying: ControlPlane) -> None:
    """An offending workload that was there first can be changed in all but its pod template."""
    patch = ["patch", "deployment", "before", "--type=merge", "--dry-run=server"]
    denying.kubectl(*patch, '--patch={"spec":{"replicas":0},"metadata":{"labels":{"a":"b"}}}')
    with pytest.raises(errors.CommandError, match=SAYS):
        denying.kubectl(*patch, '--patch={"spec":{"template":{"spec":{"hostname":"other"}}}}')


def test_a_namespace_can_opt_out(denying: ControlPlane) -> None:
    """Where the namespace is labelled migsched.io/admission=ignore, nothing is refused."""
    labels = {"migsched.io/admission": "ignore"}
    denying.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "static", "labels": labels}}])
    assert not refused(denying, deployed.pod("judged", namespace="static", resources=SLICE))


def test_the_warning_form_refuses_nothing(warning: ControlPlane) -> None:
    """With the warning binding, an offending pod is created and its author is told; a good one is created silently."""
    said = tried(warning, offending("judged"))
    assert SAYS in said
    assert "pod/judged created" in said
    assert "Warning" not in tried(warning, deployed.pod("judged", resources=SLICE, schedulerName="migsched"))
