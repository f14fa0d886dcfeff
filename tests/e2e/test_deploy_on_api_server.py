"""deploy/ on the genuine API server and kube-scheduler: what is applied is taken, and gives the rights it should."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.claims import contract
from allocator.queueing.queued_pod import GATE
from scheduler.cache.kube import KubeClient
from scheduler.cache.port import Binding, WatchedKind
from testbed import errors
from testbed.control_plane import build, ports
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.e2e.deployed import AGENT, SCHEDULER
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

KUSTOMIZATIONS = [
    path.parent
    for path in manifests.files()
    if path.name == "kustomization.yaml"
    and not {"policy", "monitoring", "openshift-monitoring", "openshift-monitoring-lock", "openshift-route"}
    & set(path.parts)  # test_foreign_kinds.py has kinds of others
    and manifests.documents(path)[0]["kind"] == "Kustomization"
]
OPTIONS = sorted(path.parent for path in manifests.files(manifests.DEPLOY / "options") if path.stem == "kustomization")
EXAMPLES = [path for path in manifests.EXAMPLES.glob("*.yaml") if path.stem != "dynamo-graph"]  # its CRD is Dynamo's


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with deploy/ applied."""
    with deployed.cluster(binaries, tmp_path_factory.mktemp("deploy")) as started:
        yield started


OF_MOVES = (WatchedKind.REPACK, WatchedKind.NAMESPACE)  # whose role is in the option `moves`
KINDS = [kind for kind in WatchedKind if kind not in OF_MOVES]


def built_objects(cluster: ControlPlane, folder: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(manifests.DEPLOY / folder)).stdout))


def built_deployment(cluster: ControlPlane, folder: str) -> dict[str, Any]:
    (found,) = (one for one in built_objects(cluster, folder) if one["kind"] == "Deployment")
    return found


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda f: str(f.relative_to(manifests.DEPLOY)))
def test_every_kustomization_is_taken(cluster: ControlPlane, folder: Path) -> None:
    """Each kustomization builds, and the API server takes its objects without a field it does not know."""
    done = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", f"--kustomize={folder}")
    assert done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("base", ["agent", "openshift-agent"])
def test_options_go_together(cluster: ControlPlane, base: str, tmp_path: Path) -> None:
    """An overlay that takes the agent with every option is taken, and each option leaves its mark."""

    def relative(folder: Path) -> str:
        return os.path.relpath(folder, tmp_path)

    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(manifests.DEPLOY / base)],
        "components": [relative(one) for one in OPTIONS],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    done = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", f"--kustomize={tmp_path}")
    assert done.stderr == ""
    objects = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(tmp_path)).stdout))
    (agent,) = (one for one in objects if one["kind"] == "DaemonSet")
    (container,) = agent["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables["MIGSCHED_AGENT_DRIVER_ROOT"] == "/host"
    assert variables["MIGSCHED_AGENT_MANAGE_OPERATOR_LABELS"] == "true"
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one["hostPath"]["path"] for one in agent["spec"]["template"]["spec"]["volumes"]}
    assert volumes[mounts["/host"]] == "/"
    assert set(mounts.values()) == volumes.keys()


def test_the_agents_pod_is_admitted_in_its_namespace_only(cluster: ControlPlane) -> None:
    """The agents' namespace admits the DaemonSet's pod; the scheduler's, and any that is restricted, does not."""
    (built,) = (one for one in built_objects(cluster, "agent") if one["kind"] == "DaemonSet")
    template = built["spec"]["template"]

    def admit(namespace: str, account: str) -> str:
        metadata = {**template["metadata"], "name": "admitted", "namespace": namespace}
        spec = {**template["spec"], "serviceAccountName": account}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return deployed.create(cluster, document, "--dry-run=server")

    assert "Warning" not in admit("migsched-agents", "migsched-agent")
    with pytest.raises(errors.CommandError, match="violates PodSecurity"):
        admit("migsched-system", "migsched-scheduler")


@pytest.mark.parametrize("folder", ["kustomize", "openshift"])
def test_the_scheduler_pod_meets_pod_security_restricted(cluster: ControlPlane, folder: str) -> None:
    """The namespace enforces `restricted`, and a pod of the Deployment is admitted there."""
    template = built_deployment(cluster, folder)["spec"]["template"]
    metadata = {**template["metadata"], "name": "admitted", "namespace": "migsched-system"}
    document = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}
    deployed.create(cluster, document, "--dry-run=server")
    document["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(errors.CommandError, match="violates PodSecurity"):
        deployed.create(cluster, document, "--dry-run=server")


def test_openshift_leaves_the_user_to_the_platform(cluster: ControlPlane) -> None:
    """The overlay for OpenShift asks for no user id, which restricted-v2 would refuse, and pins that SCC."""
    template = built_deployment(cluster, "openshift")["spec"]["template"]
    assert "runAsUser" not in template["spec"]["securityContext"]
    assert template["metadata"]["annotations"] == {"openshift.io/required-scc": "restricted-v2"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_are_taken(cluster: ControlPlane, path: Path) -> None:
    """The API server takes each example as it is, without a warning."""
    done = cluster.kubectl("create", "--dry-run=server", "--validate=strict", f"--filename={path}")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("user", "verb", "resource", "allowed"),
    [
        (SCHEDULER, "create", "pods --subresource=binding", True),
        (SCHEDULER, "patch", "nodes", True),
        (SCHEDULER, "watch", "mignodes.migsched.io", True),
        (SCHEDULER, "update", "pods", False),
        (SCHEDULER, "get", "secrets", False),
        (SCHEDULER, "list", "secrets", False),
        (SCHEDULER, "watch", "secrets", False),
        (SCHEDULER, "create", "serviceaccounts --subresource=token", False),
        (SCHEDULER, "patch", "mignodes.migsched.io", False),
        (SCHEDULER, "patch", "mignodes.migsched.io --subresource=status", False),
        (AGENT, "watch", "pods", True),
        (AGENT, "create", "pods --subresource=binding", False),
        (AGENT, "patch", "nodes", False),
        (AGENT, "get", "pods", False),
        (AGENT, "patch", "events", False),
        (AGENT, "create", "pods", False),
        (AGENT, "update", "pods", False),
        (AGENT, "patch", "pods", False),
        (AGENT, "patch", "pods --subresource=status", False),
        (AGENT, "delete", "pods", False),
        (AGENT, "create", "pods --subresource=eviction", False),
        (AGENT, "get", "secrets", False),
    ],
)
def test_rights_are_what_the_api_server_grants(
    cluster: ControlPlane, user: str, verb: str, resource: str, allowed: bool
) -> None:
    """The API server's authorizer grants an account what its roles mean to say, in all namespaces, and no more."""
    asked = ["auth", "can-i", verb, *resource.split(), "--all-namespaces"]
    done = cluster.kubectl(*asked, user=user, check=False)
    assert done.stdout.strip() == ("yes" if allowed else "no")


async def test_the_extender_s_role_is_enough_for_its_port(cluster: ControlPlane) -> None:
    """Every call of the scheduler service's client is granted to an account that has the extender's role alone."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bound-1"}}
    cluster.apply([node, deployed.pod("bound", schedulerName="nobody")])
    client = await KubeClient.connect(cluster.kubeconfig_of(deployed.EXTENDER))
    try:
        versions = {kind: (await client.list(kind)).resource_version for kind in KINDS}
        assert list(await client.disruption_budgets()) == []
        pod = await client.get_pod("default", "bound")
        await client.annotate_node("bound-1", contract.REQUEUE_ANNOTATION, "1")
        await client.bind(
            Binding("default", "bound", pod.metadata.uid, "bound-1", {contract.MOVABLE_ANNOTATION: "true"})
        )
        empty = {"apiVersion": "migsched.io/v1alpha1", "kind": "MigNode", "metadata": {"name": "bound-1"}}
        cluster.apply([empty])
        for kind in KINDS:  # each kind has changed since it was listed
            watch = client.watch(kind, versions[kind])
            async with asyncio.timeout(deployed.SECONDS), contextlib.aclosing(watch):
                assert (await anext(watch)).item is not None
    finally:
        await client.close()


async def test_the_role_of_moves_shows_what_moves_follow(cluster: ControlPlane) -> None:
    """With the role of the option `moves` besides, the account may list Repacks and Namespaces."""
    deployed.apply_options(cluster, "moves")
    binding = ["--clusterrole=migsched-moves", f"--user={deployed.EXTENDER}"]
    cluster.kubectl("create", "clusterrolebinding", "moves-alone", *binding)
    client = await KubeClient.connect(cluster.kubeconfig_of(deployed.EXTENDER))
    try:
        for kind in OF_MOVES:
            assert (await client.list(kind)).resource_version
    finally:
        await client.close()


PATCHES = {
    "a label": {"metadata": {"labels": {"a": "b"}}},
    "another annotation": {"metadata": {"annotations": {"a": "b"}}},
    "an annotation's removal": {"metadata": {"annotations": {"kept": None}}},
    "a finalizer": {"metadata": {"finalizers": ["example.com/stay"]}},
    "a taint": {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
    "cordoned": {"spec": {"unschedulable": True}},
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES.keys())
def test_the_scheduler_may_change_one_annotation_of_a_node(cluster: ControlPlane, patch: dict[str, Any]) -> None:
    """Of any node the scheduler's account may change the annotation that requeues pods, and nothing else."""
    metadata = {"name": "patched", "annotations": {"kept": "yes"}}
    cluster.apply([{"apiVersion": "v1", "kind": "Node", "metadata": metadata}])
    as_scheduler = ["patch", "node", "patched", "--type=merge", "--dry-run=server"]
    allowed = {"metadata": {"annotations": {contract.REQUEUE_ANNOTATION: "1"}}}
    cluster.kubectl(*as_scheduler, f"--patch={json.dumps(allowed)}", user=SCHEDULER)
    with pytest.raises(errors.CommandError, match=r"only the annotation migsched\.io/requeue"):
        cluster.kubectl(*as_scheduler, f"--patch={json.dumps(patch)}", user=SCHEDULER)


def test_kube_scheduler_runs_on_the_shipped_rights_and_configuration(cluster: ControlPlane) -> None:
    """With our ServiceAccount and file it takes its lease and places other pods; MIG pods wait for the extender."""
    config = yaml.safe_load(manifests.KUBE_SCHEDULER_CONFIG.read_text(encoding="utf-8"))
    config["clientConnection"]["kubeconfig"] = str(cluster.kubeconfig_of(SCHEDULER))
    config["extenders"][0]["urlPrefix"] = f"http://127.0.0.1:{ports.choose_free(1)[0]}/v1"  # nobody answers there
    room = {"cpu": "8", "memory": "16Gi", "pods": "110", "nvidia.com/mig-1g.5gb": "7"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu-1"}, "status": {"allocatable": room}}
    plain = deployed.pod("plain", schedulerName="migsched")
    mig = deployed.pod("mig", schedulerName="migsched", resources=deployed.SLICE)
    cluster.apply([node, plain, mig])
    server = cluster.start_scheduler(config)

    def field(name: str, path: str) -> str:
        return cluster.kubectl("get", "pod", name, f"--output=jsonpath={path}").stdout

    reason = "{.status.conditions[?(@.type=='PodScheduled')].reason}"
    deployed.eventually(lambda: field("plain", "{.spec.nodeName}") == "gpu-1", "the plain pod is placed")
    deployed.eventually(lambda: field("mig", reason) == "SchedulerError", "the MIG pod waits for the extender")
    assert field("mig", "{.spec.nodeName}") == ""
    lease = ["get", "lease", "migsched", "--namespace=migsched-system"]
    assert cluster.kubectl(*lease, "--output=jsonpath={.spec.leaseDurationSeconds}").stdout == "20"
    server.process.stop()
    log = (cluster.log_directory / "kube-scheduler.log").read_text(encoding="utf-8")
    assert "forbidden" not in log


MESSAGE = {"type": "PodScheduled", "message": "full: no room"}
STATUSES: dict[str, dict[str, Any]] = {
    "another reason": {"conditions": [{**MESSAGE, "reason": "Unschedulable"}]},
    "another status": {"conditions": [{**MESSAGE, "status": "True"}]},
    "another condition": {"conditions": [MESSAGE, {"type": "Ready", "status": "True"}]},
    "the phase": {"phase": "Failed", "conditions": [MESSAGE]},
    "a message of the pod": {"message": "gone", "conditions": [MESSAGE]},
    "an address": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [MESSAGE]},
}


def test_the_scheduler_may_say_why_a_gated_pod_waits(cluster: ControlPlane) -> None:
    """Of a gated pod's status the scheduler's account may write one message, and nothing else; of others, any."""
    cluster.apply(manifests.DEPLOY / "options" / "queue" / "told.yaml")
    cluster.kubectl("create", "clusterrole", "for-kubectl", "--verb=get", "--resource=pods/status")
    cluster.kubectl("create", "clusterrolebinding", "for-kubectl", "--clusterrole=for-kubectl", f"--user={SCHEDULER}")
    for name, gates in (("gated", [{"name": GATE}]), ("free", [])):
        deployed.create(cluster, deployed.pod(name, schedulingGates=gates))

    def write(name: str, status: dict[str, Any]) -> str:
        patch = f"--patch={json.dumps({'status': status})}"
        as_scheduler = ["patch", "pod", name, "--subresource=status", "--type=strategic", "--dry-run=server", patch]
        return cluster.kubectl(*as_scheduler, user=SCHEDULER, check=False).stderr

    deployed.eventually(lambda: "only" in write("gated", STATUSES["the phase"]), "the policy is in force")
    assert write("gated", {"conditions": [MESSAGE]}) == ""
    refused = {what: write("gated", status) for what, status in STATUSES.items()}
    assert [what for what, error in refused.items() if "the scheduler may" not in error] == []
    assert write("free", STATUSES["another reason"]) == ""
