"""StatefulSets: pods with stable names. Used by expand."""

from collections.abc import Iterator

from simulator.cluster.api import Document
from simulator.workloads import fields, templates
from simulator.workloads.work import FieldTable, Work

_FIELDS = FieldTable(
    read=frozenset({"replicas", "template", "ordinals"}),
    harmless=frozenset(
        {
            "minReadySeconds", "persistentVolumeClaimRetentionPolicy", "podManagementPolicy", "revisionHistoryLimit",
            "selector", "serviceName", "updateStrategy", "volumeClaimTemplates",
        }
    ),
)  # fmt: skip


def stateful_set(work: Work) -> Iterator[Document]:
    """Its pods, numbered from its first ordinal on."""
    at = work.at / "spec"
    work.check(_FIELDS, work.spec, at)
    template, replicas = work.template(work.spec, at), work.count(work.spec, "replicas", at)
    owner = work.owner("StatefulSet", work.name)
    revision = templates.template_hash(template)
    first = work.count(fields.mapping(work.spec, "ordinals", at), "start", at / "ordinals", default=0)
    for index in range(first, first + replicas):
        name = f"{owner.name}-{index}"
        labels = {
            "apps.kubernetes.io/pod-index": str(index),
            "controller-revision-hash": f"{owner.name}-{revision}",
            "statefulset.kubernetes.io/pod-name": name,
        }
        yield work.pod(template, at / "template", name=name, labels=labels, owner=owner)
