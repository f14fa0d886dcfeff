"""Makes pods of manifests, as the controllers of their kinds would. Called by the demo and by tools that plan.

Deployments, ReplicaSets, StatefulSets, Jobs, Dynamo graphs and pods are known; every other kind is listed as skipped,
because it makes no pods (Services, ConfigMaps) or we do not know how.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import dynamo, fields, templates
from simulator.workloads.fields import FieldPlace, ManifestError
from simulator.workloads.manifests import Manifest
from simulator.workloads.templates import Controller, NameGenerator

MAX_REPLICAS = 100_000
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A manifest that made no pods."""

    kind: str
    name: str
    place: str


@dataclass(slots=True)
class Expansion:
    """The pods of some manifests, in their order, and what was skipped."""

    pods: list[Document] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Work:
    """One manifest being expanded."""

    manifest: Manifest
    namespace: str
    names: NameGenerator

    @property
    def spec(self) -> dict[str, Any]:
        return fields.mapping(self.manifest.body, "spec", self.at, required=True)

    @property
    def at(self) -> FieldPlace:
        return self.manifest.place

    def replicas(self, field_name: str = "replicas", default: int = 1) -> int:
        return fields.count(self.spec, field_name, self.at / "spec", default=default, most=MAX_REPLICAS)

    def template(self) -> tuple[dict[str, Any], FieldPlace]:
        return fields.mapping(self.spec, "template", self.at / "spec", required=True), self.at / "spec" / "template"

    def owner(self, kind: str, name: str) -> Controller:
        api_version = "apps/v1" if kind == "ReplicaSet" else self.manifest.api_version
        return Controller(api_version, kind, name, self.namespace, self.names.uid())


def expand(manifests: Iterable[Manifest], *, seed: int = 0, namespace: str = DEFAULT_NAMESPACE) -> Expansion:
    """The pods of these manifests; `namespace` is for those that name none. Raises ManifestError.

    Random parts of names follow from `seed`.
    """
    names = NameGenerator(seed)
    expansion = Expansion()
    for manifest in manifests:
        make = _MAKERS.get((_group(manifest.api_version), manifest.kind))
        if make is None:
            expansion.skipped.append(Skipped(manifest.kind, manifest.name, str(manifest.place)))
            continue
        own = fields.mapping(manifest.body, "metadata", manifest.place).get("namespace")
        expansion.pods += make(_Work(manifest, str(own or namespace), names))
    _check_names(expansion.pods)
    return expansion


def _pod(work: _Work) -> Iterator[Document]:
    meta = fields.mapping(work.manifest.body, "metadata", work.at)
    name = work.manifest.name if meta.get("name") else work.names.suffixed(work.manifest.name.rstrip("-"))
    yield templates.pod(work.manifest.body, work.at, name=name, namespace=work.namespace)


def _deployment(work: _Work) -> Iterator[Document]:
    template, at = work.template()
    return _replica_set_pods(work, work.manifest.name, template, at, work.replicas(), {})


def _replica_set(work: _Work) -> Iterator[Document]:
    template, at = work.template()
    owner = work.owner("ReplicaSet", work.manifest.name)
    for _ in range(work.replicas()):
        name = work.names.suffixed(owner.name)
        yield templates.pod(template, at, name=name, namespace=work.namespace, owner=owner)


def _stateful_set(work: _Work) -> Iterator[Document]:
    template, at = work.template()
    owner = work.owner("StatefulSet", work.manifest.name)
    revision = templates.template_hash(template)
    ordinals = fields.mapping(work.spec, "ordinals", work.at / "spec")
    first = fields.count(ordinals, "start", work.at / "spec.ordinals", default=0, most=MAX_REPLICAS)
    for index in range(first, first + work.replicas()):
        name = f"{owner.name}-{index}"
        labels = {
            "apps.kubernetes.io/pod-index": str(index),
            "controller-revision-hash": f"{owner.name}-{revision}",
            "statefulset.kubernetes.io/pod-name": name,
        }
        yield templates.pod(template, at, name=name, namespace=work.namespace, labels=labels, owner=owner)


def _job(work: _Work) -> Iterator[Document]:
    template, at = work.template()
    owner = work.owner("Job", work.manifest.name)
    parallelism = work.replicas("parallelism")
    completions = work.replicas("completions", default=parallelism)
    indexed = work.spec.get("completionMode") == "Indexed"
    for index in range(0 if work.spec.get("suspend") else min(parallelism, completions)):
        labels = {"batch.kubernetes.io/controller-uid": owner.uid, "batch.kubernetes.io/job-name": owner.name}
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)} if indexed else {}
        name = work.names.suffixed(f"{owner.name}-{index}" if indexed else owner.name)
        yield templates.pod(
            template, at, name=name, namespace=work.namespace, labels=labels, annotations=annotations, owner=owner
        )


def _dynamo_graph(work: _Work) -> Iterator[Document]:
    graph = work.manifest.name
    for component in dynamo.components(work.manifest, MAX_REPLICAS):
        name = f"{graph}-{component.name.lower()}"
        yield from _replica_set_pods(
            work, name, component.template, component.place, component.replicas, component.labels(graph)
        )


def _replica_set_pods(
    work: _Work, name: str, template: dict[str, Any], at: FieldPlace, replicas: int, labels: Mapping[str, str]
) -> Iterator[Document]:
    """The pods of a Deployment of that name."""
    revision = templates.template_hash(template)
    owner = work.owner("ReplicaSet", f"{name}-{revision}")
    all_labels = {**labels, "pod-template-hash": revision}
    for _ in range(replicas):
        yield templates.pod(
            template,
            at,
            name=work.names.suffixed(owner.name),
            namespace=work.namespace,
            labels=all_labels,
            owner=owner,
        )


def _check_names(pods: Iterable[Document]) -> None:
    keys = set()
    for pod in pods:
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if key in keys:
            raise ManifestError("metadata.name", "/".join(key), "is the name of two pods; give them different ones")
        keys.add(key)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


_MAKERS: Mapping[tuple[str, str], Callable[[_Work], Iterator[Document]]] = {
    ("", "Pod"): _pod,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    (dynamo.GROUP, dynamo.KIND): _dynamo_graph,
}
