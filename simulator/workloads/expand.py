"""Makes pods of manifests, as the controllers of their kinds would. Called by the demo and by tools that plan.

Each kind has a translator (`_TRANSLATORS`). What is not understood is never lost in silence: an object of a kind that
is not expanded, and each field that may change pods and is not read, is in `left_out`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simulator.cluster.api import Document
from simulator.workloads import (
    daemon_sets,
    dynamo,
    fields,
    jobs,
    kserve,
    leader_workers,
    other_kinds,
    ray,
    replicated,
    stateful_sets,
)
from simulator.workloads.fields import ManifestError
from simulator.workloads.manifests import Manifest
from simulator.workloads.templates import NameGenerator
from simulator.workloads.work import MAX_PODS, LeftOut, Work

DEFAULT_NAMESPACE = "default"
_TRANSLATORS: Mapping[tuple[str, str], Callable[[Work], Iterator[Document]]] = {
    ("", "Pod"): replicated.pod,
    ("", "ReplicationController"): replicated.replica_set,
    ("apps", "DaemonSet"): daemon_sets.daemon_set,
    ("apps", "Deployment"): replicated.deployment,
    ("apps", "ReplicaSet"): replicated.replica_set,
    ("apps", "StatefulSet"): stateful_sets.stateful_set,
    ("batch", "CronJob"): jobs.cron_job,
    ("batch", "Job"): jobs.job,
    (dynamo.GROUP, dynamo.KIND): dynamo.graph,
    (kserve.GROUP, kserve.KIND): kserve.inference_service,
    (leader_workers.GROUP, "LeaderWorkerSet"): leader_workers.leader_worker_set,
    (ray.GROUP, "RayCluster"): ray.cluster,
    (ray.GROUP, "RayJob"): ray.job,
    (ray.GROUP, "RayService"): ray.service,
}


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object of a kind that makes no pods and changes none."""

    kind: str
    name: str
    place: str


@dataclass(slots=True)
class Expansion:
    """The pods of some manifests, in their order; what makes none; and what was left out although it may make some."""

    pods: list[Document] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def expand(
    manifests: Iterable[Manifest],
    *,
    seed: int = 0,
    namespace: str = DEFAULT_NAMESPACE,
    nodes: Sequence[Document] | None = None,
    most: int = MAX_PODS,
) -> Expansion:
    """The pods of these manifests; `namespace` is for those that name none. Raises ManifestError.

    Random parts of names follow from `seed`. `nodes` are the cluster's, for kinds that make a pod per node. More than
    `most` pods in all are refused.
    """
    names = NameGenerator(seed)
    expansion = Expansion()
    for manifest in manifests:
        group = manifest.api_version.rpartition("/")[0]
        translate = _TRANSLATORS.get((group, manifest.kind))
        work = Work(manifest, _namespace(manifest) or namespace, names, nodes)
        if translate is not None:
            for pod in translate(work):
                if len(expansion.pods) == most:
                    raise manifest.place.error(manifest.name, f"makes more than {most} pods in all; ask for fewer")
                expansion.pods.append(pod)
        elif other_kinds.makes_no_pods(group, manifest.kind):
            expansion.skipped.append(Skipped(manifest.kind, manifest.name, str(manifest.place)))
        else:
            work.leave_out(None, other_kinds.why_left_out(group, manifest.kind))
        expansion.left_out += work.left_out
    _check_names(expansion.pods)
    return expansion


def _namespace(manifest: Manifest) -> str:
    meta, at = fields.mapping(manifest.body, "metadata", manifest.place), manifest.place / "metadata"
    return "" if meta.get("namespace") is None else fields.text(meta, "namespace", at)


def _check_names(pods: Iterable[Document]) -> None:
    keys = set()
    for pod in pods:
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if key in keys:
            raise ManifestError("metadata.name", "/".join(key), "is the name of two pods; give them different ones")
        keys.add(key)
