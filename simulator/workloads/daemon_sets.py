"""DaemonSets: a pod on every node that its template admits. Used by expand.

The controller looks at node selector, required node affinity and taints, and not at what fits; then it pins each pod to
its node by an affinity of its own and adds tolerations (Kubernetes' daemon controller, `CreatePodTemplate` and
`ReplaceDaemonSetPodNodeNameNodeAffinity`).
"""

from collections.abc import Iterator
from typing import Any

from allocator.eligibility import document as eligibility
from allocator.eligibility import verdict
from allocator.eligibility.verdict import Ineligible
from simulator.cluster.api import Document
from simulator.workloads import fields, templates
from simulator.workloads.work import FieldTable, Work

_FIELDS = FieldTable(
    read=frozenset({"template"}),
    harmless=frozenset({"minReadySeconds", "revisionHistoryLimit", "selector", "updateStrategy"}),
)
_ADDED_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)


def daemon_set(work: Work) -> Iterator[Document]:
    """One pod per node that its node selector, affinity and tolerations admit, pinned to it."""
    at = work.at / "spec"
    work.check(_FIELDS, work.spec, at)
    template = work.template(work.spec, at)
    spec = fields.mapping(template, "spec", at / "template", required=True)
    templates.check_containers(spec, at / "template" / "spec")
    if work.nodes is None:
        work.leave_out(None, "makes a pod on every node that suits it; which nodes there are is not known here")
        return
    owner, revision = work.owner("DaemonSet", work.name), templates.template_hash(template)
    tolerant = {**spec, "tolerations": [*fields.sequence(spec, "tolerations", at), *_ADDED_TOLERATIONS]}
    constraints, made, refusal = eligibility.pod_of(tolerant), 0, ""
    for node in work.nodes:
        name = node["metadata"]["name"]
        facts = eligibility.node(name, node["metadata"].get("labels"), node.get("spec"), node.get("status"))
        told = verdict.judge(constraints, facts)
        if told.reason not in (None, Ineligible.NODE_RESOURCES_FIT):
            refusal = refusal or f"{name}: {told.detail}"
            continue
        made += 1
        pinned = {**template, "spec": _pinned(tolerant, name)}
        labels = {"controller-revision-hash": revision, "pod-template-generation": "1"}
        yield work.pod(pinned, at / "template", name=work.names.suffixed(work.name), labels=labels, owner=owner)
    if not made:
        work.leave_out(at / "template", f"no node here suits it ({refusal})" if refusal else "there are no nodes")


def _pinned(spec: dict[str, Any], node: str) -> dict[str, Any]:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity, required = _mapping(spec.get("affinity")), "requiredDuringSchedulingIgnoredDuringExecution"
    of_nodes = {**_mapping(affinity.get("nodeAffinity")), required: {"nodeSelectorTerms": [term]}}
    return {**spec, "affinity": {**affinity, "nodeAffinity": of_nodes}}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
