"""Ray on Kubernetes (ray.io): RayCluster, and the cluster inside RayJob and RayService. Used by expand.

The operator makes one head pod, and of each worker group `numOfHosts` pods per replica, as many replicas as wanted
within the group's bounds (KubeRay, `GetWorkerGroupDesiredReplicas`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields
from simulator.workloads.fields import FieldPlace
from simulator.workloads.work import MAX_PODS, FieldTable, Work

GROUP = "ray.io"
_CLUSTER = FieldTable(
    read=frozenset({"headGroupSpec", "suspend", "workerGroupSpecs"}),
    harmless=frozenset(
        {
            "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headServiceAnnotations", "managedBy",
            "networkPolicy", "rayVersion", "tlsOptions", "upgradeStrategy",
        }
    ),
    left_out={"gcsFaultToleranceOptions": "may add a pod that cleans up; it asks for no slice"},
)  # fmt: skip
_HEAD = FieldTable(
    read=frozenset({"template"}),
    harmless=frozenset({"enableIngress", "headService", "labels", "rayStartParams", "serviceType"}),
    left_out={"resources": "overrides what the pod asks for; it is not read here"},
)
_GROUP = FieldTable(
    read=frozenset({"groupName", "maxReplicas", "minReplicas", "numOfHosts", "replicas", "suspend", "template"}),
    harmless=frozenset({"idleTimeoutSeconds", "labels", "rayStartParams", "scaleStrategy"}),
    left_out={"resources": "overrides what the pod asks for; it is not read here"},
)
_SUSPENDED = "is suspended: it has no pods now"
_INT32 = 2**31 - 1


def cluster(work: Work) -> Iterator[Document]:
    """The pods of a RayCluster."""
    return _pods(work, work.name, work.spec, work.at / "spec")


def job(work: Work) -> Iterator[Document]:
    """The pods of a RayJob's own cluster; the pod that submits it is left out."""
    spec, at = fields.mapping(work.spec, "rayClusterSpec", work.at / "spec"), work.at / "spec" / "rayClusterSpec"
    if not spec:
        work.leave_out(at, "there is none: it runs on a cluster that exists already")
        return iter(())
    if fields.flag(work.spec, "suspend", work.at / "spec"):
        work.leave_out(work.at / "spec" / "suspend", _SUSPENDED)
        return iter(())
    work.leave_out(work.at / "spec" / "submitterPodTemplate", "the pod that submits the job is not expanded here")
    return _pods(work, work.name, spec, at)


def service(work: Work) -> Iterator[Document]:
    """The pods of a RayService's cluster."""
    spec = fields.mapping(work.spec, "rayClusterConfig", work.at / "spec", required=True)
    return _pods(work, work.name, spec, work.at / "spec" / "rayClusterConfig")


def _pods(work: Work, name: str, spec: Mapping[str, Any], at: FieldPlace) -> Iterator[Document]:
    work.check(_CLUSTER, spec, at)
    owner = work.owner("RayCluster", name, f"{GROUP}/v1")
    head, here = fields.mapping(spec, "headGroupSpec", at, required=True), at / "headGroupSpec"
    work.check(_HEAD, head, here)
    template, groups = work.template(head, here), fields.sequence(spec, "workerGroupSpecs", at)
    if fields.flag(spec, "suspend", at):
        work.leave_out(at / "suspend", _SUSPENDED)
        return
    labels = {"ray.io/cluster": name, "ray.io/node-type": "head", "ray.io/group": "headgroup"}
    yield work.pod(template, here / "template", name=work.names.suffixed(f"{name}-head"), labels=labels, owner=owner)
    for index, group in enumerate(groups):
        here = at / "workerGroupSpecs" / index
        work.check(_GROUP, group, here)
        named, template = fields.text(group, "groupName", here), work.template(group, here)
        labels = {"ray.io/cluster": name, "ray.io/node-type": "worker", "ray.io/group": named}
        stem = f"{name}-{named}-worker"
        for _ in range(_replicas(work, group, here) * work.count(group, "numOfHosts", here, least=1)):
            yield work.pod(template, here / "template", name=work.names.suffixed(stem), labels=labels, owner=owner)


def _replicas(work: Work, group: Mapping[str, Any], at: FieldPlace) -> int:
    least = work.count(group, "minReplicas", at, default=0)
    most = fields.count(group, "maxReplicas", at, default=MAX_PODS, most=_INT32)
    wanted = work.count(group, "replicas", at, default=least)
    if fields.flag(group, "suspend", at):
        work.leave_out(at / "suspend", _SUSPENDED)
        return 0
    return min(max(wanted, least), most)
