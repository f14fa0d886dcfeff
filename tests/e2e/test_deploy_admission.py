"""The admission policies about MIG pods, on the genuine API server: who places them, and that a promise stays."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from allocator.claims import contract
from allocator.errors import RefusedError
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Binding
from testbed import errors
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.e2e.deployed import SLICE
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

NODE = "gpu-1"
PROMISED = {contract.PLACEMENT_ANNOTATION: "promised"}
BINDINGS_ALONE = "set by migsched's Binding alone"
SAYS = "needs schedulerName: migsched"


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server without any of our policies, and two accounts that may bind pods."""
    with ControlPlane(tmp_path_factory.mktemp("admission"), binaries=binaries, users=deployed.USERS) as started:
        started.kubectl("create", "clusterrole", "binder", "--verb=create,get", "--resource=pods,pods/binding")
        users = [f"--user={user}" for user in (deployed.SCHEDULER, deployed.EXTENDER)]
        started.kubectl("create", "clusterrolebinding", "binder", "--clusterrole=binder", *users)
        started.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}])
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


@pytest.fixture
def promised(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """The API server with the policy about placements in force."""
    yield from in_force(cluster, "placement", lambda: refused(cluster, annotated("probe")))


def annotated(name: str) -> dict[str, Any]:
    """A pod that comes with a placement."""
    document = deployed.pod(name)
    document["metadata"]["annotations"] = PROMISED
    return document


async def bind(cluster: ControlPlane, user: str, name: str, annotations: dict[str, str]) -> None:
    """Bind a pod as the scheduler service does, under an account."""
    client = await KubeClient.connect(cluster.kubeconfig_of(user))
    try:
        pod = await client.get_pod("default", name)
        await client.bind(Binding("default", name, pod.metadata.uid, NODE, annotations))
    finally:
        await client.close()


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


def test_a_pod_brings_no_placement(promised: ControlPlane) -> None:
    """Nobody creates a pod with a promise: it would be text of the pod's author."""
    assert not refused(promised, deployed.pod("judged"))
    with pytest.raises(errors.CommandError, match=BINDINGS_ALONE):
        tried(promised, annotated("judged"))


async def test_only_the_schedulers_binding_sets_a_placement(promised: ControlPlane) -> None:
    """Its Binding writes node and promise at once; another account may bind a pod, and promise nothing."""
    for name in ("ours", "theirs"):
        deployed.create(promised, deployed.pod(name, schedulerName="nobody"))
    await bind(promised, deployed.SCHEDULER, "ours", PROMISED)
    with pytest.raises(RefusedError, match=BINDINGS_ALONE):
        await bind(promised, deployed.EXTENDER, "theirs", PROMISED)
    await bind(promised, deployed.EXTENDER, "theirs", {"other": "kept"})
    shown = [
        "get",
        "pod",
        "ours",
        "theirs",
        "--output=jsonpath={.items[*].spec.nodeName} {.items[*].metadata.annotations}",
    ]
    assert promised.kubectl(*shown).stdout == (
        f'{NODE} {NODE} {{"{contract.PLACEMENT_ANNOTATION}":"promised"}} {{"other":"kept"}}'
    )


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_nobody_changes_a_placement(promised: ControlPlane, subresource: str) -> None:
    """Once promised it is neither changed nor removed, by an administrator either; all else of the pod can be."""
    name = f"kept-{subresource or 'itself'}"
    deployed.create(promised, deployed.pod(name, schedulerName="nobody"))
    await bind(promised, deployed.SCHEDULER, name, PROMISED)
    patch = ["patch", "pod", name, "--type=merge", *([f"--subresource={subresource}"] if subresource else [])]

    def annotate(**annotations: str | None) -> None:
        promised.kubectl(*patch, f"--patch={json.dumps({'metadata': {'annotations': annotations}})}")

    for value in ("elsewhere", None):
        with pytest.raises(errors.CommandError, match=BINDINGS_ALONE):
            annotate(**{contract.PLACEMENT_ANNOTATION: value})
    annotate(other="changed")
    promised.kubectl("delete", "pod", name, "--force", "--grace-period=0")
