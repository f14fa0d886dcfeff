"""`migsched doctor` and `migsched handover` as a user runs them, on a genuine API server with the published CRDs."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from allocator.claims.report import GpuReport, MigMode
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane
from tests import published_crds
from tests.e2e import deployed
from tests.unit.cli.diagnosis import healthy

pytestmark = pytest.mark.e2e

READER = "reader"
SYSTEM, AGENTS = "/namespaces/migsched-system", "/namespaces/migsched-agents"
POLICY = "/apis/nvidia.com/v1/clusterpolicies/cluster-policy"
LABELS = {"app.kubernetes.io/name": "migsched", "app.kubernetes.io/component": "agent"}
NEEDS_SERVICE = {"service-left-objects-out"}  # there is no kubelet, and so no pod to forward to


class Writer:
    """Writes objects at a genuine API server as its admin: one request each, where kubectl takes a process."""

    def __init__(self, plane: ControlPlane, client: httpx.Client) -> None:
        self.plane = plane
        self._client = client

    def put(self, path: str, api_version: str, kind: str, **document: Any) -> None:
        """Server-side apply of an object; `status` is a second request."""
        status = document.pop("status", None)
        meta = {**document.pop("metadata", {}), "name": path.rpartition("/")[2]}
        body = {"apiVersion": api_version, "kind": kind, "metadata": meta, **document}
        self._patch(f"{path}?fieldManager=test&force=true&fieldValidation=Strict", body, "apply-patch+yaml")
        if status is not None:
            self.patch(f"{path}/status", {"status": status})

    def patch(self, path: str, body: Any) -> None:
        """A JSON merge patch."""
        self._patch(path, body, "merge-patch+json")

    def _patch(self, path: str, body: Any, content_type: str) -> None:
        headers = {"Content-Type": f"application/{content_type}"}
        answer = self._client.patch(path, content=json.dumps(body), headers=headers)
        assert answer.is_success, f"{path}: {answer.text}"

    def get(self, path: str) -> Any:
        """An object."""
        return self._client.get(path).raise_for_status().json()

    def delete(self, path: str) -> None:
        """An object goes, at once."""
        self._client.request("DELETE", path, json={"gracePeriodSeconds": 0}).raise_for_status()

    def node(self, name: str, **labels: str) -> None:
        """A Node with these labels, and no other that the test gave it."""
        self.put(f"/api/v1/nodes/{name}", "v1", "Node", metadata={"labels": labels})

    def report(self, name: str, gpu: GpuReport) -> None:
        """A MigNode as its agent writes it."""
        status = healthy.mig_node(name, gpu)["status"]
        self.put(f"/apis/migsched.io/v1alpha1/mignodes/{name}", "migsched.io/v1alpha1", "MigNode", status=status)

    def agent(self, name: str) -> None:
        """The agent's pod on a node, ready."""
        spec = deployed.pod("", nodeName=name)["spec"]
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        path = f"/api/v1{AGENTS}/pods/agent-{name}"
        self.put(path, "v1", "Pod", metadata={"labels": LABELS}, spec=spec, status=ready)

    def policy(self, **spec: Any) -> None:
        """The ClusterPolicy, with all that its schema wants."""
        needed = published_crds.spec_schema("clusterpolicies.nvidia.com")["required"]
        self.put(POLICY, "nvidia.com/v1", "ClusterPolicy", spec={**{key: {} for key in needed}, **spec})

    def lease(self, holder: str) -> None:
        """The lease of kube-scheduler, renewed just now."""
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"leaseDurationSeconds": 15, "renewTime": renewed, "holderIdentity": holder}
        path = f"/apis/coordination.k8s.io/v1{SYSTEM}/leases/migsched"
        self.put(path, "coordination.k8s.io/v1", "Lease", spec=spec)


VALIDATOR = {"cuda": {"env": [{"name": "WITH_WORKLOAD", "value": "false"}]}}


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """A cluster with nothing wrong: deploy/ with the queue, the GPU Operator's kinds, one node of ours.

    There are no controllers: what they would write of Deployment, DaemonSet and pods the test writes.
    """
    crds = [published_crds.file_of(f"{name}.nvidia.com") for name in ("clusterpolicies", "gpuclusters")]
    users = {**deployed.USERS, READER: []}
    with deployed.cluster(binaries, tmp_path_factory.mktemp("doctor"), users) as plane:
        files = [f"--filename={crd}" for crd in crds]
        plane.kubectl("apply", "--server-side", *files)
        queue = json.dumps({"apiVersion": "v1", "kind": "List", "items": deployed.built_with(plane, "queue")})
        plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", standard_input=queue)
        plane.kubectl("wait", "--for=condition=Established", *files)
        trust = ssl.create_default_context(cafile=plane.directory / "certificates" / "ca.crt")
        headers = {"Authorization": f"Bearer {plane.token}"}
        with httpx.Client(base_url=plane.url, headers=headers, verify=trust, trust_env=False, timeout=60) as client:
            writer = Writer(plane, client)
            writer.node("gpu-1", **healthy.OPERATOR_LABELS, **{"migsched.io/agent": "true"})
            writer.report("gpu-1", healthy.gpu())
            writer.agent("gpu-1")
            writer.policy(mig={"strategy": "mixed"}, validator=VALIDATOR)
            writer.lease("pod-1")
            ready = {"status": {"readyReplicas": 1, "replicas": 1}}
            writer.patch(f"/apis/apps/v1{SYSTEM}/deployments/migsched-scheduler/status", ready)
            numbers = ("currentNumberScheduled", "desiredNumberScheduled", "numberReady")
            counts = {"status": {**dict.fromkeys(numbers, 1), "numberMisscheduled": 0}}
            writer.patch(f"/apis/apps/v1{AGENTS}/daemonsets/migsched-agent/status", counts)
            yield writer


def migsched(cluster: Writer, *words: str, user: str = "") -> tuple[int, dict[str, Any]]:
    """Run the command line by a kubeconfig of this cluster; its exit code and its JSON."""
    plane = cluster.plane
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig_of(user) if user else plane.kubeconfig)}
    environment.pop("MIGSCHED_API_URL", None)
    command = [sys.executable, "-m", "cli", *words, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def codes(answer: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in answer["findings"]}


def test_a_cluster_with_nothing_wrong_has_no_finding(cluster: Writer) -> None:
    """The shipped objects, roles and CRD are judged as they are on a genuine server; only the service is missed."""
    code, answer = migsched(cluster, "doctor")
    assert answer["findings"] == []
    assert (code, {each["code"] for each in answer["not_looked_at"] if each["open"]}) == (3, NEEDS_SERVICE)
    assert not answer["service_reached"]
    assert {"rights-missing", "managed-resources-missing", "crd-outdated"} <= set(answer["looked"])


def test_a_reader_without_rights_is_told_what_was_not_looked_at(cluster: Writer) -> None:
    """Nothing is found, nothing is called well, and the server's words say why."""
    code, answer = migsched(cluster, "doctor", user=READER)
    assert (code, answer["findings"]) == (3, [])
    assert set(answer["looked"]) == {"kubernetes-too-old", "kubernetes-untried", "object-unreadable"}
    (mode,) = (each for each in answer["not_looked_at"] if each["code"] == "mig-mode-off")
    assert 'cannot list resource "mignodes"' in mode["reason"]


def test_a_node_is_handed_over_and_back(cluster: Writer) -> None:
    """The server takes what --apply sends: the policy under its published schema, the labels, and the way back."""
    present, path = {"nvidia.com/gpu.present": "true"}, "/api/v1/nodes/gpu-9"
    cluster.node("gpu-9", **present)
    cluster.policy(mig={"strategy": "single"})
    assert migsched(cluster, "handover", "gpu-9", "--apply")[0] == 0
    handed_over = {**present, **healthy.OPERATOR_LABELS, "migsched.io/agent": "true"}
    assert cluster.get(path)["metadata"]["labels"] == handed_over
    spec = cluster.get(POLICY)["spec"]
    assert (spec["mig"]["strategy"], spec["validator"]) == ("mixed", VALIDATOR)
    assert migsched(cluster, "handover", "gpu-9", "--back", "--apply")[0] == 0
    after = {**present, **dict.fromkeys(healthy.OPERATOR_LABELS, "true")}
    assert cluster.get(path)["metadata"]["labels"] == after
    cluster.delete(path)


def test_thirteen_planted_faults_are_found(cluster: Writer) -> None:
    """Each of them and no other, by a user's command, under the schemas that their projects publish."""
    cluster.policy(mig={"strategy": "single"}, validator=VALIDATOR)
    path = "/apis/nvidia.com/v1alpha1/gpuclusters/gpu-cluster"
    cluster.put(path, "nvidia.com/v1alpha1", "GPUCluster", spec={"draDriver": {}})
    cluster.node("gpu-2", **{"nvidia.com/gpu.deploy.dra-driver": "true", "migsched.io/agent": "true"})
    cluster.report("gpu-2", healthy.gpu(uuid="GPU-2", mig_mode=MigMode.DISABLED))
    cluster.agent("gpu-2")
    cluster.node("gpu-1", **dict.fromkeys(healthy.OPERATOR_LABELS, "true"), **{"migsched.io/agent": "true"})
    cluster.report("gone", healthy.gpu(uuid="GPU-3"))
    chooses = deployed.pod("chooses", resources=deployed.SLICE)["spec"]
    chooses["containers"][0]["env"] = [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]
    cluster.put("/api/v1/namespaces/default/pods/chooses", "v1", "Pod", spec=chooses)
    admission = "/apis/admissionregistration.k8s.io/v1"
    cluster.delete(f"{admission}/mutatingadmissionpolicybindings/migsched-queue")
    cluster.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/migsched-agent")
    restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    cluster.patch("/api/v1/namespaces/migsched-agents", restricted)
    cluster.lease("")
    limits = {"limits": [{"type": "Container", "default": {"nvidia.com/mig-1g.5gb": "1"}}]}
    cluster.put("/api/v1/namespaces/default/limitranges/defaults", "v1", "LimitRange", spec=limits)
    code, answer = migsched(cluster, "doctor")
    assert code == 1
    assert codes(answer) == {
        *("mig-strategy", "gpu-cluster-present", "dra-driver-serves-node", "device-plugin-enabled"),
        *("mig-manager-enabled", "mig-mode-off", "mignode-without-node", "visible-devices-set", "gate-unbound"),
        *("rights-missing", "agents-forbidden", "lease-unheld", "limit-range-changes-pods"),
    }
    assert all(finding["fix"] and finding["object"] for finding in answer["findings"])
    _, of_node = migsched(cluster, "doctor", "node", "gpu-2")
    assert codes(of_node) == {"dra-driver-serves-node", "mig-mode-off"}
