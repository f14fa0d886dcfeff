"""LeaderWorkerSets (leaderworkerset.x-k8s.io): groups of one leader and its workers. Used by expand and dynamo.

A StatefulSet has the leaders, `name-0` and so on; each leader owns a StatefulSet of its workers, `name-0-1` and so on.
`size` counts the leader; without a `leaderTemplate` it is made of the worker's.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields
from simulator.workloads.fields import FieldPlace
from simulator.workloads.work import FieldTable, Work

GROUP = "leaderworkerset.x-k8s.io"
_LABELS = "leaderworkerset.sigs.k8s.io"
_FIELDS = FieldTable(
    read=frozenset({"leaderWorkerTemplate", "replicas"}),
    harmless=frozenset({"networkConfig", "rolloutStrategy", "startupPolicy"}),
)
_TEMPLATE = FieldTable(
    read=frozenset({"leaderTemplate", "size", "workerTemplate"}),
    harmless=frozenset(
        {"persistentVolumeClaimRetentionPolicy", "restartPolicy", "subGroupPolicy", "volumeClaimTemplates"}
    ),
)
_Template = tuple[Mapping[str, Any], FieldPlace]


def leader_worker_set(work: Work) -> Iterator[Document]:
    """The pods of all its groups."""
    at = work.at / "spec"
    work.check(_FIELDS, work.spec, at)
    both, here = fields.mapping(work.spec, "leaderWorkerTemplate", at, required=True), at / "leaderWorkerTemplate"
    work.check(_TEMPLATE, both, here)
    worker = work.template(both, here, "workerTemplate"), here / "workerTemplate"
    leader = worker
    if both.get("leaderTemplate") is not None:
        leader = work.template(both, here, "leaderTemplate"), here / "leaderTemplate"
    replicas, size = work.count(work.spec, "replicas", at), work.count(both, "size", here, least=1)
    for group in range(replicas):
        yield from group_pods(work, work.name, group, size, leader, worker)


def group_pods(
    work: Work,
    name: str,
    group: int,
    size: int,
    leader: _Template,
    worker: _Template,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Document]:
    """The `size` pods of one group of the LeaderWorkerSet of that name: the leader, then its workers."""
    head = f"{name}-{group}"
    leaders, workers = work.owner("StatefulSet", name, "apps/v1"), work.owner("StatefulSet", head, "apps/v1")
    for index in range(size):
        template, at = worker if index else leader
        yield work.pod(
            template,
            at,
            name=f"{head}-{index}" if index else head,
            owner=workers if index else leaders,
            labels={
                **(labels or {}),
                f"{_LABELS}/name": name,
                f"{_LABELS}/group-index": str(group),
                f"{_LABELS}/worker-index": str(index),
            },
            annotations={f"{_LABELS}/size": str(size)},
        )
