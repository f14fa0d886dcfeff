"""A cluster in memory, as documents by path: a healthy one, which tests break. `PictureReader` reads it."""

import asyncio
import base64
import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import yaml

from allocator import errors
from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, MigMode
from allocator.mig import gpu_models
from cli.diagnosis import reader, registry
from cli.diagnosis.finding import Diagnosis, Level
from cli.diagnosis.picture import ClusterPicture, Look, PicturedService
from cli.diagnosis.reader import CRD, PictureReader, Scope
from kubeclient.changes import Listing
from kubeclient.object_reader import PageReader
from tests.unit.deploy import manifests, mig_nodes

T = TypeVar("T")
Document = dict[str, Any]

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
NODE = "gpu-1"
GPU = "GPU-00000000-0000-0000-0000-000000000000"
MIG_NODES = reader.MIG_NODES
POLICY = "/apis/nvidia.com/v1/clusterpolicies"
GPU_CLUSTERS = "/apis/nvidia.com/v1alpha1/gpuclusters"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENTS, DAEMON_SETS = "/apis/apps/v1/deployments", "/apis/apps/v1/daemonsets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/migsched-system/leases"
CONFIG_MAPS = "/api/v1/namespaces/migsched-system/configmaps"
GRAPHS = "/apis/nvidia.com/v1beta1/dynamographdeployments"
PODS, NODES, NAMESPACES = "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces"
QUOTAS, LIMIT_RANGES = "/api/v1/resourcequotas", "/api/v1/limitranges"
WEBHOOKS = f"{ADMISSION}/mutatingwebhookconfigurations"
GATES, GATE_BINDINGS = f"{ADMISSION}/mutatingadmissionpolicies", f"{ADMISSION}/mutatingadmissionpolicybindings"
OPERATOR_LABELS = {"nvidia.com/gpu.deploy.device-plugin": "false", "nvidia.com/gpu.deploy.mig-manager": "false"}


class MemoryServer:
    """An API server of lists by path. A path that is missing is not served; a path in `refused` gets this error."""

    def __init__(self, lists: Mapping[str, list[Any]]) -> None:
        self.lists = {path: list(items) for path, items in lists.items()}
        self.refused: dict[str, errors.ClusterError] = {}
        self.version: Document = {"major": "1", "minor": "36", "gitVersion": "v1.36.4"}
        self.denied: set[tuple[str, str]] = set()  # (verb, resource) that no account may
        self.asked: list[str] = []

    async def request(self, method: str, path: str, *, body: bytes | None = None) -> bytes:
        """`/version`, or a review of rights."""
        self.asked.append(f"{method} {path}")
        if path in self.refused:
            raise self.refused[path]
        if path == "/version":
            return json.dumps(self.version).encode()
        attributes = json.loads(body or b"{}")["spec"]["resourceAttributes"]
        allowed = (attributes["verb"], attributes["resource"]) not in self.denied
        return json.dumps({"status": {"allowed": allowed}}).encode()

    async def list(
        self, path: str, decode: Callable[[bytes | msgspec.Raw], T], query: Mapping[str, str] | None = None
    ) -> Listing[T]:
        """The objects of a path; bytes among them stand for themselves."""
        self.asked.append(f"GET {path}")
        if path in self.refused:
            raise self.refused[path]
        if path not in self.lists:
            raise errors.NotFoundError(f"list {path}: HTTP 404: the server could not find the requested resource")
        chosen = [item for item in self.lists[path] if isinstance(item, bytes) or _is_selected(item, query or {})]
        texts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in chosen]
        page = b'{"metadata":{"resourceVersion":"1"},"items":[' + b",".join(texts) + b"]}"
        return (await PageReader(decode).read(page)).listing


def _is_selected(item: Document, query: Mapping[str, str]) -> bool:
    fields = {"metadata.name": item["metadata"]["name"], "spec.nodeName": item.get("spec", {}).get("nodeName", "")}
    labels = item["metadata"].get("labels") or {}
    selectors = [(fields, query.get("fieldSelector", "")), (labels, query.get("labelSelector", ""))]
    wanted = [(values, pair.partition("=")) for values, text in selectors for pair in text.split(",") if pair]
    return all(values.get(key) == value for values, (key, _, value) in wanted)


def named(name: str, namespace: str = "", **meta: Any) -> Document:
    """An object of which only the metadata matters."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{namespace}-{name}",
            **({"namespace": namespace} if namespace else {}),
            **meta,
        }
    }


def node(name: str = NODE, **labels: str) -> Document:
    """A Node that is handed over to migsched, with a driver of branch 580."""
    ours = {"migsched.io/agent": "true", "nvidia.com/cuda.driver-version.major": "580", **OPERATOR_LABELS, **labels}
    return {**named(name, labels=ours), "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def gpu(model: str = "a100-40gb", **changes: Any) -> GpuReport:
    """An empty GPU in MIG mode."""
    made = GpuReport(GPU, 0, f"NVIDIA {model}", MigMode.ENABLED, gpu_models.find(model))
    return dataclasses.replace(made, **changes)


def mig_node(name: str = NODE, *gpus: Any, **condition: str) -> Document:
    """A MigNode with one A100, and a Ready condition."""
    status = mig_nodes.written(*(gpus or (gpu(),)))
    status["conditions"] = [{**mig_nodes.READY, "reason": "Ready", **condition}]
    return {**named(name, creationTimestamp="2026-11-01T00:00:00Z"), "status": status}


def pod(name: str, profile: str = "1g.5gb", *, at: int | None = 0, on: str = NODE, **spec: Any) -> Document:
    """A pod with a slice, bound where its annotation says; `at` None: without an annotation."""
    container = {"name": "main", "image": "none", "resources": {"limits": {f"nvidia.com/mig-{profile}": "1"}}}
    promises = () if at is None else (Promise("main", GPU, profile, at),)
    annotations = {contract.PLACEMENT_ANNOTATION: placement_annotation.encode(promises)} if promises else {}
    made = named(name, "team-a", annotations=annotations)
    settings = {"schedulerName": "migsched", "containers": [container], **({"nodeName": on} if on else {}), **spec}
    return {**made, "spec": settings, "status": {"phase": "Running" if on else "Pending"}}


def agent_pod(on: str = NODE, ready: str = "True") -> Document:
    """The agent's pod on a node."""
    labels = {"app.kubernetes.io/name": "migsched", "app.kubernetes.io/component": "agent"}
    conditions = [{"type": "Ready", "status": ready}]
    made = named(f"migsched-agent-{on}", "migsched-agents", labels=labels)
    return {**made, "spec": {"nodeName": on}, "status": {"phase": "Running", "conditions": conditions}}


def cluster_policy(**spec: Any) -> Document:
    """The operator's ClusterPolicy as docs/gpu-operator.md sets it."""
    validator = {"cuda": {"env": [{"name": "WITH_WORKLOAD", "value": "false"}]}}
    return {**named("cluster-policy"), "spec": {"mig": {"strategy": "mixed"}, "validator": validator, **spec}}


def lease(name: str = "migsched", holder: str = "pod-1", age_s: float = 1.0) -> Document:
    """A lease that was renewed so many seconds ago."""
    renewed = (NOW - timedelta(seconds=age_s)).isoformat()
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}
    return {**named(name, "migsched-system"), "spec": spec}


def scheduler(*, queue: bool = True) -> Document:
    """The scheduler's Deployment, of the shipped manifest, with a configuration mounted."""
    made = copy.deepcopy(dict(manifests.one(manifests.DEPLOY / "kustomize" / "deployment.yaml", "Deployment")))
    made["spec"]["template"]["spec"]["initContainers"][0]["env"] = [
        {"name": "MIGSCHED_QUEUE", "value": str(queue).lower()}
    ]
    made["spec"]["template"]["spec"]["initContainers"][0]["image"] = "registry.example.com/migsched:0.1.0"
    return {**made, "status": {"readyReplicas": 1}}


def agents() -> Document:
    """The agents' DaemonSet, of the shipped manifest."""
    made = dict(manifests.one(manifests.DEPLOY / "agent" / "daemonset.yaml", "DaemonSet"))
    return {**made, "status": {"numberReady": 1, "desiredNumberScheduled": 1}}


def configuration() -> Document:
    """The ConfigMap of the shipped kube-scheduler configuration."""
    text = manifests.KUBE_SCHEDULER_CONFIG.read_text(encoding="utf-8")
    return {**named("migsched-kube-scheduler", "migsched-system"), "data": {"config.yaml": text}}


def webhook(ca: bytes) -> Document:
    """A webhook of ours with this authority."""
    made = named("migsched-queue", labels={"app.kubernetes.io/name": "migsched"})
    return {
        **made,
        "webhooks": [{"name": "gate.migsched.io", "clientConfig": {"caBundle": base64.b64encode(ca).decode()}}],
    }


def crd() -> Document:
    """The shipped CRD."""
    return copy.deepcopy(_crd())


@functools.cache
def _crd() -> Document:
    shipped: Document = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    return shipped


def healthy(*, queue: bool = True) -> MemoryServer:
    """A cluster with nothing wrong: the GPU Operator, a node of ours, its agent, a pod with a slice, the queue."""
    gate = named("migsched-queue", labels={"app.kubernetes.io/name": "migsched"})
    privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
    return MemoryServer(
        {
            NODES: [node()],
            MIG_NODES: [mig_node()],
            PODS: [agent_pod(), pod("triton"), named("other", "team-b")],
            NAMESPACES: [named("migsched-agents", labels=privileged), named("migsched-system")],
            DEPLOYMENTS: [scheduler(queue=queue)],
            DAEMON_SETS: [agents()],
            LEASES: [lease()],
            CONFIG_MAPS: [configuration()],
            POLICY: [cluster_policy()],
            GPU_CLUSTERS: [],
            GATES: [gate] if queue else [],
            GATE_BINDINGS: [{**named("migsched-queue"), "spec": {"policyName": "migsched-queue"}}] if queue else [],
            WEBHOOKS: [],
            CRDS: [crd(), named("podcliquesets.grove.io")],
            GRAPHS: [],
            QUOTAS: [],
            LIMIT_RANGES: [],
        }
    )


SERVICE: Look[PicturedService] = Look((PicturedService("http://migsched", "0.1.0"),))


def pictured(
    server: MemoryServer, scope: Scope | None = None, service: Look[PicturedService] = SERVICE
) -> ClusterPicture:
    """What the reader makes of a cluster."""
    return asyncio.run(PictureReader(server, scope or Scope(), service, NOW.timestamp).read())


def diagnosed(server: MemoryServer, service: Look[PicturedService] = SERVICE, *, limit: int = 20) -> Diagnosis:
    """What is found in a cluster."""
    return registry.diagnose(pictured(server, service=service), levels=tuple(Level), limit=limit)
