"""Pods, and the controllers that make equal ones: Deployment, ReplicaSet, ReplicationController. Used by expand."""

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields, templates
from simulator.workloads.fields import FieldPlace
from simulator.workloads.work import FieldTable, Work

_DEPLOYMENT = FieldTable(
    read=frozenset({"replicas", "template"}),
    harmless=frozenset(
        {"minReadySeconds", "paused", "progressDeadlineSeconds", "revisionHistoryLimit", "selector", "strategy"}
    ),
)
_REPLICA_SET = FieldTable(_DEPLOYMENT.read, frozenset({"minReadySeconds", "selector"}))


def pod(work: Work) -> Iterator[Document]:
    """A pod is itself."""
    meta = fields.mapping(work.manifest.body, "metadata", work.at)
    name = work.name if meta.get("name") else work.names.suffixed(work.name.rstrip("-"))
    yield work.pod(work.manifest.body, work.at, name=name)


def deployment(work: Work) -> Iterator[Document]:
    """The pods of its one ReplicaSet."""
    at = work.at / "spec"
    work.check(_DEPLOYMENT, work.spec, at)
    template, replicas = work.template(work.spec, at), work.count(work.spec, "replicas", at)
    return of_deployment(work, work.name, template, at / "template", replicas)


def replica_set(work: Work) -> Iterator[Document]:
    """A ReplicaSet's pods, or a ReplicationController's, are named after it."""
    at = work.at / "spec"
    work.check(_REPLICA_SET, work.spec, at)
    template, replicas = work.template(work.spec, at), work.count(work.spec, "replicas", at)
    owner = work.owner(work.manifest.kind, work.name)
    for _ in range(replicas):
        yield work.pod(template, at / "template", name=work.names.suffixed(owner.name), owner=owner)


def of_deployment(
    work: Work,
    name: str,
    template: Mapping[str, Any],
    at: FieldPlace,
    replicas: int,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Document]:
    """The pods of a Deployment of that name."""
    revision = templates.template_hash(template)
    owner = work.owner("ReplicaSet", f"{name}-{revision}", "apps/v1")
    all_labels = {**(labels or {}), "pod-template-hash": revision}
    for _ in range(replicas):
        yield work.pod(template, at, name=work.names.suffixed(owner.name), labels=all_labels, owner=owner)
